package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError makes a refusal of pflag wrong usage, and names the flag that may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		if near := nearestFlag(cmd, err.Error(), unknown); near != "" {
			err = fmt.Errorf("%w, did you mean --%s?", err, near)
		}
	}
	return &usageError{err: refusedValue(err), command: cmd.CommandPath()}
}

// refusedValue says in a user's words why a flag did not take a value: pflag's own name functions of Go.
func refusedValue(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag, value := invalid.GetFlag(), invalid.GetValue()
	switch {
	case flag.Value.Type() == "bool" && flag.Name == "read-data" && strings.Contains(value, "/"):
		return fmt.Errorf("invalid argument %q for --%s: want true or false; --read-data-subset %s reads a part", value, flag.Name, value)
	case flag.Value.Type() == "bool":
		return fmt.Errorf("invalid argument %q for --%s: want true or false", value, flag.Name)
	case value == "":
		return fmt.Errorf("--%s is empty: %w", flag.Name, invalid.Unwrap())
	}
	return err
}

// nearestFlag finds the flag for a wrong one: --max-wokers, --max_workers, --MaxWorkers, -bundle.
func nearestFlag(cmd *cobra.Command, message string, unknown *pflag.NotExistError) string {
	word := unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		_, word, _ = strings.Cut(message, " in -") // the whole of -bundle, of which pflag has refused a letter
		word, _, _ = strings.Cut(word, "=")
	}
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	return nearest(word, names)
}

// arguments makes a refusal of cobra's own validators wrong usage, and says what may have been meant.
func arguments(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := validate(cmd, args)
		if err == nil {
			return nil
		}
		switch {
		case strings.HasPrefix(err.Error(), "unknown command"): // what cobra says where there must be no arguments
			err = unexpected(cmd, args[0])
		case len(cmd.ValidArgs) > 0 && len(args) == 1:
			err = fmt.Errorf("invalid argument %q for %s: want %s", args[0], cmd.Name(), strings.Join(cmd.ValidArgs, ", "))
		case strings.Contains(err.Error(), "arg(s)"): // too few, or too many
			err = fmt.Errorf("got %d arguments, want \"%s\"", len(args), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return &usageError{err: err, command: cmd.CommandPath()}
	}
}

// unexpected explains an argument to a command that takes none.
func unexpected(cmd *cobra.Command, word string) error {
	if cmd.Flags().Lookup("bundle") != nil && isBundle(word) {
		return fmt.Errorf("%s takes no arguments, but got %q, did you mean --bundle %s?", cmd.Name(), word, word)
	}
	if cmd.HasAvailableSubCommands() {
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		if near := nearest(word, names); near != "" {
			return fmt.Errorf("unknown command %q, did you mean %q?", word, near)
		}
		return fmt.Errorf("unknown command %q", word)
	}
	return fmt.Errorf("%s takes no arguments, but got %q", cmd.Name(), word)
}

// isBundle reports whether there is a bundle at path, by what lies there.
func isBundle(path string) bool {
	_, err := os.Stat(filepath.Join(path, "manifest.json"))
	return err == nil
}

// nearest returns the name that a mistyped or shortened word stands for, empty if none is near.
func nearest(word string, names []string) string {
	word = plain(word)
	best, distance := "", 1+max(2, len(word)/3) // one mistake in three letters; in short words two
	for _, name := range names {
		d := mistakes(word, plain(name))
		switch i := strings.Index(plain(name), word); {
		case i == 0:
			d = min(d, 1)
		case i > 0 && len(word) > 3: // --workers for --max-workers
			d = min(d, 2)
		}
		if d < distance && d < len(word) {
			best, distance = name, d
		}
	}
	return best
}

// plain is a name without what people mix up.
func plain(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
}

// mistakes counts the letters to add, leave out, change or swap with their neighbour that lead from a to b.
func mistakes(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
