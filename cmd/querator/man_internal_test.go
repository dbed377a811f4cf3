package main

// An internal test: it makes the manual pages of the command tree, which only this package has. The generator is
// here and not in the program, where it would cost half a megabyte on every device.
//
// To write the pages for a package, from the top folder; SOURCE_DATE_EPOCH in the environment is their date:
//
//	go test -count=1 -ldflags '-X github.com/kapetan-io/querator-edge/cmd/querator.version=1.2.3' \
//	  -run '^TestManPages$' ./cmd/querator -man "$PWD/man"

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var manDir = flag.String("man", "", "write the manual pages into this directory")

func TestManPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root := (&env{version: version}).rootCommand()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true // The day would differ from build to build.
	header := &doc.GenManHeader{Title: "QUERATOR", Section: "1", Source: "querator " + version, Manual: "Querator Edge"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	pages := 0
	eachCommand(root, func(cmd *cobra.Command) {
		pages++
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		text, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case err != nil:
			t.Error(err)
		case !strings.Contains(string(text), ".TH \"QUERATOR\" \"1\"") || !strings.Contains(string(text), cmd.Short):
			t.Errorf("%s does not tell what the command does:\n%s", name, text)
		}
	})
	if files, err := filepath.Glob(filepath.Join(dir, "*.1")); err != nil || len(files) != pages || pages < 30 {
		t.Errorf("%d pages of %d commands, %v", len(files), pages, err)
	}
}

// eachCommand calls do for every command that people see.
func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() && !below.IsAdditionalHelpTopicCommand() {
			eachCommand(below, do)
		}
	}
}
