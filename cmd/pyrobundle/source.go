package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

const defaultPlatform = "https://alertapi.pyronear.org"

// sourceAPIFlag is --source-api: the annotation API's name for the platform (contract B.1).
type sourceAPIFlag struct{ name string }

func (s *sourceAPIFlag) addFlags(flags *pflag.FlagSet) {
	flags.Var(newChoice(&s.name, "", "pyronear_french", "alert_wildfire", "api_cenia"), "source-api",
		"the annotation API's name for the platform: pyronear_french, alert_wildfire, api_cenia; default by its host")
}

// sourceAPIOf returns the name that belongs to a known platform's host, otherwise nothing.
func sourceAPIOf(platformURL string) string {
	switch hostOf(platformURL) {
	case "alertapi.pyronear.org":
		return "pyronear_french"
	case "apicenia.pyronear.org":
		return "api_cenia"
	}
	return ""
}

// sourceAPI decides under which name load writes: the flag, else what the bundle knows, else the host. A platform that
// nobody knows needs the flag, except towards this machine: test data must never take production's ids.
func sourceAPI(flag sourceAPIFlag, source store.Source, targetURL string) (string, error) {
	for _, name := range []string{flag.name, source.API, sourceAPIOf(source.URL)} {
		if name != "" {
			return name, nil
		}
	}
	if isLoopback(hostOf(targetURL)) {
		return "pyronear_french", nil
	}
	return "", usagef("the platform %s is not a known one: say with --source-api (pyronear_french, alert_wildfire, api_cenia) under which name its sequences go to %s",
		source.URL, targetURL)
}

// notReached says of an API that could not be talked to at all where it was looked for, and what to check.
func notReached(api, address, flag string, err error) error {
	var answer *httpapi.Error
	if errors.As(err, &answer) { // the steps that led to the request explain nothing
		err = answer
	}
	return fmt.Errorf("reach the %s at %s: %w; check --%s and that it runs", api, address, err, flag)
}

// apiAddress reads an API's address as people paste it.
func apiAddress(flag, value string) (string, error) {
	address, err := httpapi.Normalize(value)
	if err != nil {
		return "", &usageError{err: fmt.Errorf("--%s: %w", flag, err)}
	}
	return address, nil
}
