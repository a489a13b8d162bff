package main

import (
	"fmt"
	"strings"
)

// help assembles a command's long help: what it does, its environment, its exit codes.
func help(intro string, environment []variable, codes ...int) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(intro))
	b.WriteString("\n\nEnvironment:")
	for _, v := range append(environment, variable{"PYROBUNDLE_<FLAG>", "any flag that is not given, such as PYROBUNDLE_MAX_WORKERS=4"}) {
		fmt.Fprintf(&b, "\n  %-51s  %s", v.names, v.use)
	}
	b.WriteString("\n\nExit codes:")
	for _, code := range codes {
		fmt.Fprintf(&b, "\n  %3d  %s", code, exitMeaning(code))
	}
	return b.String()
}

// variable is a line of a help's environment: variables that belong together, and what they are for.
type variable struct{ names, use string }

func platformVariables() []variable {
	return []variable{
		{"PLATFORM_LOGIN, PLATFORM_PASSWORD", "account whose organization is fetched"},
		{"PLATFORM_ADMIN_LOGIN, PLATFORM_ADMIN_PASSWORD", "administrator, for the names of organizations"},
		{"ALERT_API_LOGIN, ... ALERT_API_ADMIN_PASSWORD", "read where the above are unset"},
	}
}

func annotationVariables() []variable {
	return []variable{
		{"LOCAL_ANNOTATION_LOGIN, LOCAL_ANNOTATION_PASSWORD", "for localhost, 127.0.0.1 and 127.0.1.1"},
		{"MAIN_ANNOTATION_LOGIN, MAIN_ANNOTATION_PASSWORD", "for any other host"},
		{"ANNOTATOR_LOGIN, ANNOTATOR_PASSWORD", "where those are unset"},
	}
}

func networkVariables() []variable {
	return []variable{
		{"HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "proxies"},
		{"SSL_CERT_FILE", "certificate authorities beside the system's"},
		{"NO_COLOR, TERM=dumb", "plain progress lines"},
	}
}
