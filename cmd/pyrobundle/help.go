package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help assembles a command's long help: what it does, its environment, its exit codes. newPage takes it apart again.
func help(intro string, environment []variable, codes ...int) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(intro))
	b.WriteString("\n\nEnvironment:")
	for _, v := range append(environment, variable{"PYROBUNDLE_<FLAG>", "each flag that is not given, but -o: PYROBUNDLE_NO_PROGRESS=1 for --no-progress"}) {
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

// page is what the help, the documents and the manual say of a command.
type page struct {
	command  *cobra.Command
	name     string // pyrobundle inspect image
	purpose  string // in a line
	intro    string
	flags    []*pflag.Flag
	sections []section // environment, exit codes, and what follows them
}

// section is a part of a help with a title. Its rows, if it has any, are a list of names and what they mean.
type section struct {
	title string
	rows  []variable
	text  string
}

func newPage(cmd *cobra.Command) page {
	p := page{command: cmd, name: cmd.CommandPath(), purpose: cmd.Short}
	titled := regexp.MustCompile(`^(Environment|Exit codes):\n`)
	row := regexp.MustCompile(`^ +(\S.*?)  +(\S.*)$`)
	var intro []string
	for paragraph := range strings.SplitSeq(cmd.Long, "\n\n") {
		title := titled.FindStringSubmatch(paragraph)
		switch {
		case title != nil:
			s := section{title: title[1]}
			for line := range strings.SplitSeq(paragraph[len(title[0]):], "\n") {
				if m := row.FindStringSubmatch(line); m != nil {
					s.rows = append(s.rows, variable{names: m[1], use: m[2]})
				}
			}
			p.sections = append(p.sections, s)
		case len(p.sections) > 0:
			p.sections[len(p.sections)-1].text = paragraph
		default:
			intro = append(intro, paragraph)
		}
	}
	p.intro = strings.Join(intro, "\n\n")
	if p.intro == "" {
		p.intro = p.purpose + "."
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			p.flags = append(p.flags, flag)
		}
	})
	return p
}

// printHelp prints a command's help: purpose, usage, examples, flags, environment, exit codes.
func (a *app) printHelp(cmd *cobra.Command, _ []string) {
	p, width := newPage(cmd), a.helpWidth()
	var b strings.Builder
	for paragraph := range strings.SplitSeq(p.intro, "\n\n") {
		b.WriteString(reflow(paragraph, width) + "\n\n")
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if list := p.commands(); len(list) > 0 {
		b.WriteString("\nCommands:\n" + aligned(list, width))
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	fmt.Fprintf(&b, "\nFlags:\n%s", cmd.LocalFlags().FlagUsagesWrapped(width))
	for _, s := range p.sections {
		fmt.Fprintf(&b, "\n%s:\n%s", s.title, aligned(s.rows, width))
		if s.text != "" {
			fmt.Fprintf(&b, "\n%s\n", reflow(s.text, width))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n'%s COMMAND --help' says more of each command.\n", p.name)
	}
	_, _ = fmt.Fprint(cmd.OutOrStdout(), b.String()) // there is nobody else to tell
}

const helpIntro = `help says what a command does, like its --help.`

const helpExample = `  pyrobundle help fetch
  pyrobundle help inspect image`

// newHelpCommand replaces cobra's, which answers a wrong name with exit code 0.
func newHelpCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Say what a command does",
		Long:    help(helpIntro, nil, exitDone, exitUsage),
		Example: helpExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{err: unexpected(about, rest[0]), command: cmd.Root().CommandPath()}
			}
			a.printHelp(about, nil)
			return nil
		},
		ValidArgsFunction: completeCommands,
	}
}

// commands are the command's own that people are to know of, and what they do.
func (p page) commands() []variable {
	var list []variable
	for _, c := range p.command.Commands() {
		if !c.Hidden {
			list = append(list, variable{names: c.Name(), use: c.Short})
		}
	}
	return list
}

// Widths of a help, in cells.
const (
	helpNarrowest = 60
	helpWidest    = 120
)

// helpWidth is what a help may take: the terminal's width, within reason.
func (a *app) helpWidth() int {
	if a.columns == nil {
		return helpWidest
	}
	return min(max(a.columns()-1, helpNarrowest), helpWidest)
}

// reflow breaks a paragraph into lines of at most width. One with indented lines is an example or a list and stays as it is.
func reflow(paragraph string, width int) string {
	if strings.Contains("\n"+paragraph, "\n ") {
		return paragraph
	}
	return wrap(paragraph, width, "")
}

// wrap breaks text into lines of at most width, of which all but the first begin with indent.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// aligned writes names and what they mean in two columns.
func aligned(rows []variable, width int) string {
	names := 0
	for _, row := range rows {
		names = max(names, len(row.names))
	}
	indent := strings.Repeat(" ", 2+names+2)
	var b strings.Builder
	for _, row := range rows {
		use := wrap(row.use, width-len(indent), "\x00")
		fmt.Fprintf(&b, "  %-*s  %s\n", names, row.names, strings.ReplaceAll(use, "\x00", indent))
	}
	return b.String()
}
