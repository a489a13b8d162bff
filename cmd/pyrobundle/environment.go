package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/pflag"
)

// environment answers for variables: the process's own first, then the env file's (contract C.1).
type environment struct {
	process func(string) (string, bool)
	file    map[string]string
	path    string // of the env file, for messages
}

// get returns the first of the variables that is set and not empty.
func (e environment) get(names ...string) string {
	for _, name := range names {
		value, ok := e.process(name)
		if !ok { // a variable that the shell sets to nothing hides the file's, as with dotenv
			value = e.file[name]
		}
		if value != "" {
			return value
		}
	}
	return ""
}

// envFileFlag is --env-file.
type envFileFlag struct {
	path  string
	flags *pflag.FlagSet
}

func (e *envFileFlag) addFlags(flags *pflag.FlagSet) {
	e.flags = flags
	flags.StringVar(&e.path, "env-file", ".env", "`file` with variables that the environment does not set")
}

// environment reads the env file. The default one may be missing, one that was asked for may not.
func (a *app) environment(flag envFileFlag, log *slog.Logger) (environment, error) {
	env := environment{process: a.lookupEnv, path: flag.path}
	text, err := os.ReadFile(flag.path)
	if errors.Is(err, fs.ErrNotExist) && !flag.flags.Changed("env-file") {
		return env, nil
	}
	if err != nil {
		return env, fmt.Errorf("read the env file: %w; check --env-file", err)
	}
	warnIfReadable(flag.path, log)
	env.file, err = parseDotenv(string(text), a.lookupEnv)
	if err != nil {
		return env, fmt.Errorf("read the env file %s: %w", flag.path, err)
	}
	log.Debug("env file read", "path", flag.path, "variables", len(env.file))
	return env, nil
}

// warnIfReadable warns of a file with passwords that other users of the machine can read.
func warnIfReadable(path string, log *slog.Logger) {
	if runtime.GOOS == "windows" { // its mode bits say nothing of who may read
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o044 != 0 {
		log.Warn("file with passwords is readable by others: run chmod 600", "path", path, "mode", info.Mode().Perm().String())
	}
}
