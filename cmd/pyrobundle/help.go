package main

import (
	"fmt"
	"strings"
)

// help assembles a command's long help: what it does, its environment, its exit codes.
func help(intro, environment string, codes ...int) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(intro))
	b.WriteString("\n\nEnvironment:")
	b.WriteString(environment)
	b.WriteString(flagEnvironment)
	b.WriteString("\n\nExit codes:")
	for _, code := range codes {
		fmt.Fprintf(&b, "\n  %3d  %s", code, exitMeaning(code))
	}
	return b.String()
}

const platformEnvironment = `
  PLATFORM_LOGIN, PLATFORM_PASSWORD              account whose organization is fetched
  PLATFORM_ADMIN_LOGIN, PLATFORM_ADMIN_PASSWORD  administrator, for the names of organizations
  ALERT_API_LOGIN, ... ALERT_API_ADMIN_PASSWORD  read where the above are unset`

const annotationEnvironment = `
  LOCAL_ANNOTATION_LOGIN, LOCAL_ANNOTATION_PASSWORD  for localhost, 127.0.0.1 and 127.0.1.1
  MAIN_ANNOTATION_LOGIN, MAIN_ANNOTATION_PASSWORD    for any other host
  ANNOTATOR_LOGIN, ANNOTATOR_PASSWORD                where those are unset`

const flagEnvironment = `
  PYROBUNDLE_<FLAG>  any flag that is not given, such as PYROBUNDLE_MAX_WORKERS=4`

const networkEnvironment = `
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE  proxy and private certificates
  NO_COLOR, TERM=dumb                   plain progress lines`
