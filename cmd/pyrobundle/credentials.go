package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"pyrobundle/fetch/platform"
)

// platformAccounts are the logins of one fetch.
type platformAccounts struct {
	accounts []platform.Account // at least one
	admin    platform.Account   // zero with --no-organizations
}

// platformCredentials collects the logins from the environment, or from the file of --accounts, and names everything that
// is missing in one message. ALERT_API_… are the newer importer's names (contract D.1).
func platformCredentials(env environment, accountsFile string, organizations bool, log *slog.Logger) (platformAccounts, error) {
	var found platformAccounts
	var missing []string
	variable := func(suffix string) string {
		value := env.get("PLATFORM_"+suffix, "ALERT_API_"+suffix)
		if value == "" {
			missing = append(missing, "PLATFORM_"+suffix)
		}
		return value
	}
	if accountsFile == "" {
		found.accounts = []platform.Account{{Login: variable("LOGIN"), Password: variable("PASSWORD")}}
	} else {
		accounts, err := readAccounts(accountsFile, log)
		if err != nil {
			return found, err
		}
		found.accounts = accounts
	}
	if organizations {
		found.admin = platform.Account{Login: variable("ADMIN_LOGIN"), Password: variable("ADMIN_PASSWORD")}
	}
	if len(missing) > 0 {
		hint := ""
		if slices.ContainsFunc(missing, func(name string) bool { return strings.Contains(name, "ADMIN") }) {
			hint = " (the administrator's are for organization names; --no-organizations does without)"
		}
		return found, fmt.Errorf("Missing platform credentials: %s; set them in the environment or in %s%s", //nolint:staticcheck // the guide's own words begin the message
			strings.Join(missing, ", "), env.path, hint)
	}
	return found, nil
}

// readAccounts reads the file of --accounts: one JSON object, {"login": "password"}.
func readAccounts(path string, log *slog.Logger) ([]platform.Account, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w; check --accounts", err)
	}
	warnIfReadable(path, log)
	var passwords map[string]string
	if err := json.Unmarshal(data, &passwords); err != nil { // the decoder's own message may quote the file
		return nil, fmt.Errorf(`read accounts %s: want one JSON object of the form {"login": "password"}`, path)
	}
	accounts := make([]platform.Account, 0, len(passwords))
	for login, password := range passwords {
		if login == "" || password == "" {
			return nil, fmt.Errorf("read accounts %s: the login %q or its password is empty", path, login)
		}
		accounts = append(accounts, platform.Account{Login: login, Password: password})
	}
	if len(accounts) == 0 {
		return nil, fmt.Errorf("read accounts %s: it names no account", path)
	}
	slices.SortFunc(accounts, func(a, b platform.Account) int { return strings.Compare(a.Login, b.Login) })
	return accounts, nil
}

// annotationCredentials follows contract C.1; unlike the importers it never sends the built-in password to another machine.
func annotationCredentials(env environment, baseURL string) (login, password string, err error) {
	host, prefix := hostOf(baseURL), annotationPrefix(baseURL)
	login = env.get(prefix+"LOGIN", "ANNOTATOR_LOGIN")
	password = env.get(prefix+"PASSWORD", "ANNOTATOR_PASSWORD")
	if isLoopback(host) {
		return withDefault(login, "admin"), withDefault(password, "admin12345"), nil
	}
	var missing []string
	if login == "" {
		missing = append(missing, prefix+"LOGIN")
	}
	if password == "" {
		missing = append(missing, prefix+"PASSWORD")
	}
	if len(missing) > 0 {
		return "", "", fmt.Errorf("Missing annotation API credentials for %s: %s; set them in the environment or in %s", //nolint:staticcheck // like its sister above
			host, strings.Join(missing, ", "), env.path)
	}
	return login, password, nil
}

// annotationPrefix begins the names of the variables for a host (contract C.1).
func annotationPrefix(baseURL string) string {
	if slices.Contains([]string{"localhost", "127.0.0.1", "127.0.1.1"}, hostOf(baseURL)) {
		return "LOCAL_ANNOTATION_"
	}
	return "MAIN_ANNOTATION_"
}

func withDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// hostOf returns the host name of an address that httpapi.Normalize has accepted, without port, in lower case.
func hostOf(baseURL string) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// isLoopback reports whether the host is this machine: localhost or a loopback address.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
