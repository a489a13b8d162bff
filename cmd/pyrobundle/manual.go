package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go run . manual --format markdown --dir ../../docs/cli

// manualOptions are the flags of the manual command.
type manualOptions struct {
	format string
	dir    string
}

const manualIntro = `manual writes the documents of all commands: docs/cli for readers of the project, or manual pages for man.`

const manualExample = `  pyrobundle manual --format man --dir ~/.local/share/man/man1`

// newManualCommand is for packagers and for this project: no help lists it.
func newManualCommand(*app) *cobra.Command {
	var opts manualOptions
	cmd := &cobra.Command{
		Use:     "manual",
		Short:   "Write the documents of all commands",
		Long:    help(manualIntro, nil, exitDone, exitError, exitUsage),
		Example: manualExample,
		Args:    arguments(cobra.NoArgs),
		Hidden:  true,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runManual(cmd.Root(), opts) },
	}
	cmd.Flags().Var(newChoice(&opts.format, "man", "markdown"), "format", "manual pages, or documents")
	cmd.Flags().StringVar(&opts.dir, "dir", "", "`directory` to write to; made where there is none")
	return cmd
}

func runManual(root *cobra.Command, opts manualOptions) error {
	if opts.dir == "" {
		return usagef("manual needs --dir DIRECTORY, where its files go")
	}
	if err := os.MkdirAll(opts.dir, 0o755); err != nil { //nolint:gosec // documents are for everybody
		return fmt.Errorf("write the manual: %w", err)
	}
	for name, text := range manual(root, opts.format) {
		if err := os.WriteFile(filepath.Join(opts.dir, name), text, 0o644); err != nil { //nolint:gosec // documents are for everybody
			return fmt.Errorf("write the manual: %w", err)
		}
	}
	return nil
}

// manual renders the documents of a command and all below it, by file name.
func manual(cmd *cobra.Command, format string) map[string][]byte {
	files := map[string][]byte{}
	var add func(*cobra.Command)
	add = func(cmd *cobra.Command) {
		p := newPage(cmd)
		name := strings.ReplaceAll(p.name, " ", "-")
		if format == "man" {
			files[name+".1"] = p.man()
		} else {
			files[name+".md"] = p.markdown()
		}
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				add(c)
			}
		}
	}
	add(cmd)
	return files
}

// defaultOf is a flag's default where it says something.
func defaultOf(flag *pflag.Flag) string {
	switch flag.DefValue {
	case "", "false", "0", "[]":
		return ""
	}
	return flag.DefValue
}

// heading of a flag: -o, --output file.
func heading(flag *pflag.Flag) string {
	text := "--" + flag.Name
	if flag.Shorthand != "" {
		text = "-" + flag.Shorthand + ", " + text
	}
	if kind, _ := pflag.UnquoteUsage(flag); kind != "" {
		text += " " + kind
	}
	return text
}

// markdown renders the command's document for docs/cli.
func (p page) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s.\n", p.name, p.purpose)
	for paragraph := range strings.SplitSeq(p.intro, "\n\n") {
		if paragraph == p.purpose+"." {
			continue
		}
		if strings.HasPrefix(paragraph, " ") {
			paragraph = "```\n" + paragraph + "\n```"
		} else {
			paragraph = linked(angles(paragraph))
		}
		fmt.Fprintf(&b, "\n%s\n", paragraph)
	}
	fmt.Fprintf(&b, "\n## Usage\n\n```sh\n%s\n```\n", p.command.UseLine())
	if list := p.commands(); len(list) > 0 {
		b.WriteString("\n## Commands\n\n| command | purpose |\n| --- | --- |\n")
		for _, c := range list {
			file := strings.ReplaceAll(p.name+" "+c.names, " ", "-") + ".md"
			fmt.Fprintf(&b, "| [%s](%s) | %s |\n", c.names, file, cell(c.use))
		}
	}
	if p.command.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```sh\n%s\n```\n", unindent(p.command.Example))
	}
	b.WriteString("\n## Flags\n\n| flag | environment variable | default | |\n| --- | --- | --- | --- |\n")
	for _, flag := range p.flags {
		variable, initial := "", ""
		if fromEnvironment(flag) {
			variable = "`" + flagVariable(flag.Name) + "`"
		}
		if value := defaultOf(flag); value != "" {
			initial = "`" + value + "`"
		}
		_, usage := pflag.UnquoteUsage(flag)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", cell(heading(flag)), variable, initial, linked(cell(angles(usage))))
	}
	for _, s := range p.sections {
		fmt.Fprintf(&b, "\n## %s\n\n| | |\n| --- | --- |\n", s.title)
		for _, row := range s.rows {
			fmt.Fprintf(&b, "| `%s` | %s |\n", row.names, cell(angles(row.use)))
		}
		if s.text != "" {
			fmt.Fprintf(&b, "\n%s\n", s.text)
		}
	}
	if p.command.HasParent() {
		parent := p.command.Parent().CommandPath()
		fmt.Fprintf(&b, "\nPart of [%s](%s.md).\n", parent, strings.ReplaceAll(parent, " ", "-"))
	}
	return b.Bytes()
}

// cell is text for a table.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), "|", `\|`) }

// angles keeps <...> from being taken for HTML.
func angles(s string) string { return strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(s) }

// linked makes links of the documents that a text names.
func linked(s string) string {
	return regexp.MustCompile(`\bdocs/([a-z-]+\.md)`).ReplaceAllString(s, "[docs/$1](../$1)")
}

// unindent takes away the two blanks that all lines of an example begin with.
func unindent(s string) string {
	return strings.ReplaceAll(strings.TrimPrefix(s, "  "), "\n  ", "\n")
}

// man renders the command's manual page.
func (p page) man() []byte {
	var b bytes.Buffer
	name := strings.ReplaceAll(p.name, " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"pyrobundle %s\" \"pyrobundle\"\n", roff(strings.ToUpper(name)), roff(readBuildVersion().Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(p.purpose))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(p.command.UseLine()))
	b.WriteString(".SH DESCRIPTION\n")
	for i, paragraph := range strings.Split(p.intro, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(roffParagraph(paragraph))
	}
	if list := p.commands(); len(list) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range list {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(strings.ReplaceAll(p.name+" "+c.names, " ", "-")), roff(c.use))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	for _, flag := range p.flags {
		_, usage := pflag.UnquoteUsage(flag)
		if value := defaultOf(flag); value != "" {
			usage += " (default " + value + ")"
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(heading(flag)), roff(usage))
		if fromEnvironment(flag) {
			fmt.Fprintf(&b, ".br\nEnvironment: %s\n", roff(flagVariable(flag.Name)))
		}
	}
	for _, s := range p.sections {
		fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(s.title)))
		for _, row := range s.rows {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(row.names), roff(row.use))
		}
		if s.text != "" {
			b.WriteString(".PP\n" + roffParagraph(s.text))
		}
	}
	if p.command.Example != "" {
		b.WriteString(".SH EXAMPLES\n" + roffParagraph(p.command.Example))
	}
	if p.command.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(strings.ReplaceAll(p.command.Parent().CommandPath(), " ", "-")))
	}
	return b.Bytes()
}

// roffParagraph renders text that is filled, or, where it has indented lines, kept as it is.
func roffParagraph(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = roff(line)
	}
	filled := strings.Join(lines, "\n") + "\n"
	if strings.Contains("\n"+text, "\n ") {
		return ".nf\n" + filled + ".fi\n"
	}
	return filled
}

// roff escapes a line for troff: no character of it is an instruction.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\(ga", "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
