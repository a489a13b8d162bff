package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

const completionIntro = `completion prints a script that makes a shell complete commands, flags and what they take: bundles, days and sequence ids of the
bundle that --bundle names, words.`

const completionExample = `  # bash, with the package bash-completion
  pyrobundle completion bash >~/.local/share/bash-completion/completions/pyrobundle

  # zsh, with a directory of fpath
  pyrobundle completion zsh >"${fpath[1]}/_pyrobundle"

  # fish
  pyrobundle completion fish >~/.config/fish/completions/pyrobundle.fish

  # PowerShell, for this session
  pyrobundle completion powershell | Out-String | Invoke-Expression`

func newCompletionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a script for completion in a shell",
		Long:      help(completionIntro, nil, exitDone, exitUsage),
		Example:   completionExample,
		Args:      arguments(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.stdout)
		},
	}
}

// completeFlags says, for every flag and argument of every command, what a shell is to propose.
func (a *app) completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if complete := a.completionOf(flag); complete != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag.Name, complete) // the flag exists, and has none yet
		}
	})
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		cmd.ValidArgsFunction = a.argumentCompletion(cmd)
	}
	for _, c := range cmd.Commands() {
		a.completeFlags(c)
	}
}

// completionOf returns what completes a flag's value; nil leaves it to the shell, which knows files.
func (a *app) completionOf(flag *pflag.Flag) cobra.CompletionFunc {
	if words, isChoice := flag.Value.(interface{ list() []string }); isChoice {
		return cobra.FixedCompletions(words.list(), cobra.ShellCompDirectiveNoFileComp)
	}
	kind, usage := pflag.UnquoteUsage(flag)
	switch {
	case kind == "directory" && strings.Contains(usage, "bundle"):
		return completeBundles
	case kind == "directory":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	case kind == "file":
		return nil
	}
	switch flag.Value.(type) {
	case *dayFlag:
		return a.completeDays
	case *sequenceList:
		return a.completeSequences
	}
	return cobra.NoFileCompletions
}

// argumentCompletion completes a command's arguments by what its usage calls them.
func (a *app) argumentCompletion(cmd *cobra.Command) cobra.CompletionFunc {
	_, words, _ := strings.Cut(cmd.Use, " ")
	switch {
	case strings.HasPrefix(words, "ID"):
		return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeSequence(cmd, word)
		}
	case strings.HasPrefix(words, "FILE"):
		return nil
	case words == "", words == "COMMAND", strings.HasPrefix(words, "SHA"):
		return cobra.NoFileCompletions
	}
	return completeBundles
}

// completeCommands completes the names of commands and of their own.
func completeCommands(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	about, rest, err := cmd.Root().Find(args)
	var found []cobra.Completion
	if err == nil && len(rest) == 0 {
		for _, c := range about.Commands() {
			if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), word) {
				found = append(found, cobra.CompletionWithDesc(c.Name(), c.Short))
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeBundles proposes the bundles that the path begun may mean, and the directories that may hold some.
func completeBundles(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent, begun := filepath.Split(word)
	entries, err := os.ReadDir(filepath.Join(parent, "."))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	directive := cobra.ShellCompDirectiveNoFileComp
	for _, entry := range entries {
		name := entry.Name()
		path := parent + name
		hidden := strings.HasPrefix(name, ".") && !strings.HasPrefix(begun, ".")
		if info, err := os.Stat(path); err != nil || !info.IsDir() || hidden || !strings.HasPrefix(name, begun) {
			continue
		}
		if isBundle(path) {
			found = append(found, path)
			continue
		}
		found = append(found, path+string(filepath.Separator))
		directive |= cobra.ShellCompDirectiveNoSpace // its name may go on
	}
	return found, directive
}

// completeDays proposes the days whose sequences or listings the bundle has.
func (a *app) completeDays(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var found []cobra.Completion
	for _, name := range []string{"today", "yesterday", "-7d"} {
		if strings.HasPrefix(name, word) {
			found = append(found, name)
		}
	}
	a.withBundle(cmd, func(ctx context.Context, bundle *store.Bundle) {
		seen := map[store.Day]bool{}
		for day, err := range bundle.Days(ctx) {
			if err != nil {
				return
			}
			if !seen[day.Day] && strings.HasPrefix(string(day.Day), word) {
				seen[day.Day] = true
				found = append(found, cobra.CompletionWithDesc(string(day.Day), fmt.Sprintf("%d sequences", day.Sequences)))
			}
		}
	})
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeSequences proposes the next id of a list, or a file that holds one.
func (a *app) completeSequences(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before, last := "", word
	if i := strings.LastIndexByte(word, ','); i >= 0 {
		before, last = word[:i+1], word[i+1:]
	}
	ids, directive := a.completeSequence(cmd, last)
	if len(ids) == 0 && before == "" {
		return nil, cobra.ShellCompDirectiveDefault // a file
	}
	var found []cobra.Completion
	for _, proposed := range ids {
		id, _, _ := strings.Cut(proposed, "\t")
		if !strings.Contains(","+before, ","+id+",") {
			found = append(found, before+proposed)
		}
	}
	return found, directive | cobra.ShellCompDirectiveNoSpace
}

const mostProposed = 200 // ids: more than anybody reads, and fast for a shell

// completeSequence proposes an id of the bundle.
func (a *app) completeSequence(cmd *cobra.Command, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var found []cobra.Completion
	a.withBundle(cmd, func(ctx context.Context, bundle *store.Bundle) {
		cameras := map[int64]string{}
		for camera, err := range bundle.Cameras(ctx) {
			if err != nil {
				return
			}
			cameras[camera.ID] = oneLine(camera.Name)
		}
		for s, err := range bundle.Summaries(ctx, store.Query{}) {
			id := strconv.FormatInt(s.ID, 10)
			if err != nil || !strings.HasPrefix(id, word) {
				continue
			}
			found = append(found, cobra.CompletionWithDesc(id, s.StartedAt.UTC().Format("2006-01-02 15:04")+" "+cameras[s.CameraID]))
			if len(found) == mostProposed {
				return
			}
		}
	})
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completionTime is what somebody who pressed a key is willing to wait.
const completionTime = time.Second

// withBundle looks into the bundle that the command line, the environment or the default names. Where there is none, nothing
// is proposed.
func (a *app) withBundle(cmd *cobra.Command, look func(context.Context, *store.Bundle)) {
	flag := cmd.Flags().Lookup("bundle")
	if flag == nil || a.flagsFromEnvironment(cmd.Flags()) != nil || !isBundle(flag.Value.String()) {
		return
	}
	bundle, err := store.Open(flag.Value.String())
	if err != nil {
		return
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	look(ctx, bundle)
}
