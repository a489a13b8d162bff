package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch/platform"
	"pyrobundle/store"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func writeFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

func TestMissingPlatformCredentialsNamesEveryVariable(t *testing.T) {
	empty := writeFile(t, "", 0o600)
	fetch := func(env map[string]string, more ...string) outcome {
		return pyrobundle(t, env, append([]string{"fetch", "--date-from", "today", "--env-file", empty, "--bundle", t.TempDir() + "/b"}, more...)...)
	}
	for _, test := range []struct {
		name string
		got  outcome
		want string
	}{
		{"all four", fetch(nil), "Missing platform credentials: PLATFORM_LOGIN, PLATFORM_PASSWORD, PLATFORM_ADMIN_LOGIN, PLATFORM_ADMIN_PASSWORD;"},
		{
			"one empty", fetch(map[string]string{"PLATFORM_LOGIN": "a", "PLATFORM_PASSWORD": "", "PLATFORM_ADMIN_LOGIN": "b", "PLATFORM_ADMIN_PASSWORD": "c"}),
			"Missing platform credentials: PLATFORM_PASSWORD;",
		},
		{"without organizations", fetch(nil, "--no-organizations"), "Missing platform credentials: PLATFORM_LOGIN, PLATFORM_PASSWORD;"},
		{"with accounts", fetch(nil, "--accounts", writeFile(t, `{"a":"b"}`, 0o600)), "Missing platform credentials: PLATFORM_ADMIN_LOGIN, PLATFORM_ADMIN_PASSWORD;"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.got.code != exitError || !strings.HasPrefix(test.got.stderr, "pyrobundle: "+test.want) || strings.Count(test.got.stderr, "\n") != 1 {
				t.Errorf("got %+v, want code 1 and one line that starts with %q", test.got, test.want)
			}
		})
	}
}

func TestPlatformCredentialsPreferTheShellAndTheGuidesNames(t *testing.T) {
	env := environment{
		process: lookup(map[string]string{"PLATFORM_LOGIN": "shell", "ALERT_API_PASSWORD": "new", "ALERT_API_ADMIN_LOGIN": "newer"}),
		file: map[string]string{
			"PLATFORM_LOGIN": "file", "PLATFORM_ADMIN_LOGIN": "admin", "PLATFORM_ADMIN_PASSWORD": "a$b",
		},
	}
	got, err := platformCredentials(env, "", true, quiet())
	if err != nil {
		t.Fatal(err)
	}
	want := platformAccounts{
		accounts: []platform.Account{{Login: "shell", Password: "new"}},
		admin:    platform.Account{Login: "admin", Password: "a$b"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(platformAccounts{})); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestReadAccounts(t *testing.T) {
	got, err := readAccounts(writeFile(t, `{"sdis-83":"y$","sdis-07":"x"}`, 0o600), quiet())
	if err != nil {
		t.Fatal(err)
	}
	want := []platform.Account{{Login: "sdis-07", Password: "x"}, {Login: "sdis-83", Password: "y$"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for name, text := range map[string]string{
		"not JSON": "canary", "a list": `["canary"]`, "a number": `{"a":1}`, "empty": `{}`, "no password": `{"a":""}`, "nested": `{"a":{"b":"canary"}}`,
	} {
		if _, err := readAccounts(writeFile(t, text, 0o600), quiet()); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: error %v, want one without the content", name, err)
		}
	}
}

func TestAnnotationCredentialsFollowTheHost(t *testing.T) {
	variables := map[string]string{
		"LOCAL_ANNOTATION_LOGIN": "local", "LOCAL_ANNOTATION_PASSWORD": "lp", "MAIN_ANNOTATION_LOGIN": "main", "MAIN_ANNOTATION_PASSWORD": "mp",
	}
	fallback := map[string]string{"ANNOTATOR_LOGIN": "any", "ANNOTATOR_PASSWORD": "ap", "MAIN_ANNOTATION_LOGIN": ""}
	for _, test := range []struct {
		name, url       string
		env             map[string]string
		login, password string
		missing         string
	}{
		{"localhost", "http://localhost:5050", variables, "local", "lp", ""},
		{"loopback address", "http://127.0.0.1:5050", variables, "local", "lp", ""},
		{"Debian's loopback address", "http://127.0.1.1", variables, "local", "lp", ""},
		{"another loopback address", "http://127.0.0.2", variables, "main", "mp", ""},
		{"upper case", "http://LOCALHOST", variables, "local", "lp", ""},
		{"another host", "https://annotationapi.pyronear.org", variables, "main", "mp", ""},
		{"a host that only looks local", "https://localhost.example.org", variables, "main", "mp", ""},
		{"fallback here", "http://localhost", fallback, "any", "ap", ""},
		{"fallback there", "http://example.org", fallback, "any", "ap", ""},
		{"login and password fall back on their own", "http://localhost", map[string]string{"LOCAL_ANNOTATION_LOGIN": "me"}, "me", "admin12345", ""},
		{"built-in here", "http://localhost", nil, "admin", "admin12345", ""},
		{"built-in on IPv6", "http://[::1]:5050", nil, "admin", "admin12345", ""},
		{"no built-in there", "http://example.org", nil, "", "", "MAIN_ANNOTATION_LOGIN, MAIN_ANNOTATION_PASSWORD"},
		{"half there", "http://example.org", map[string]string{"MAIN_ANNOTATION_LOGIN": "me"}, "", "", "MAIN_ANNOTATION_PASSWORD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			login, password, err := annotationCredentials(environment{process: lookup(test.env)}, test.url)
			if login != test.login || password != test.password {
				t.Errorf("got %q, %q; want %q, %q", login, password, test.login, test.password)
			}
			if (err != nil) != (test.missing != "") || (err != nil && !strings.Contains(err.Error(), ": "+test.missing+";")) {
				t.Errorf("error %v, want %q named", err, test.missing)
			}
		})
	}
}

func TestEnvFile(t *testing.T) {
	t.Chdir(t.TempDir())
	var log bytes.Buffer
	app := newApp(&log, &log, lookup(map[string]string{"A": "shell"}), noon)
	read := func(args ...string) (environment, error) {
		t.Helper()
		cmd := newFetchCommand(app)
		if err := cmd.Flags().Parse(args); err != nil {
			t.Fatal(err)
		}
		flag := envFileFlag{flags: cmd.Flags()}
		flag.path, _ = cmd.Flags().GetString("env-file")
		return app.environment(flag, slog.New(slog.NewTextHandler(&log, nil)))
	}

	if _, err := read(); err != nil {
		t.Errorf("a missing default file: %v, want no error", err)
	}
	if _, err := read("--env-file", "none"); err == nil {
		t.Error("a missing file that was asked for is no error")
	}
	if _, err := read("--env-file", ".env"); err == nil {
		t.Error("a missing file that was asked for by the default's name is no error")
	}
	private := writeFile(t, "A=file\nB='pa$ss #1'", 0o600)
	env, err := read("--env-file", private)
	if err != nil || env.get("A") != "shell" || env.get("B") != "pa$ss #1" || env.get("C") != "" {
		t.Errorf("A=%q B=%q C=%q, %v", env.get("A"), env.get("B"), env.get("C"), err)
	}
	if log.Len() > 0 {
		t.Errorf("a private file is warned of: %s", &log)
	}
	if _, err := read("--env-file", writeFile(t, "A=canary", 0o644)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "readable by others: run chmod 600") || strings.Contains(log.String(), "canary") {
		t.Errorf("a public file: got log %q, want a warning without its content", &log)
	}
}

func TestSourceAPI(t *testing.T) {
	const here, there = "http://localhost:5050", "https://annotation.example.org"
	for _, test := range []struct {
		name   string
		flag   string
		source store.Source
		target string
		want   string // empty: refused
	}{
		{"the bundle's", "", store.Source{URL: "https://mirror.example.org", API: "api_cenia"}, there, "api_cenia"},
		{"the flag wins", "alert_wildfire", store.Source{API: "api_cenia"}, there, "alert_wildfire"},
		{"French host", "", store.Source{URL: "https://alertapi.pyronear.org"}, there, "pyronear_french"},
		{"CENIA host", "", store.Source{URL: "https://apicenia.pyronear.org"}, there, "api_cenia"},
		{"unknown host to this machine", "", store.Source{URL: "http://127.0.0.1:8080"}, here, "pyronear_french"},
		{"unknown host to another machine", "", store.Source{URL: "http://127.0.0.1:8080"}, there, ""},
		{"a host that only looks French", "", store.Source{URL: "https://alertapi.pyronear.org.example.org"}, there, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := sourceAPI(sourceAPIFlag{name: test.flag}, test.source, test.target)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
			if err != nil && (exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--source-api")) {
				t.Errorf("error %v, want wrong usage that names --source-api", err)
			}
		})
	}
}
