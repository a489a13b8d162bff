package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseDotenv(t *testing.T) {
	env := map[string]string{"HOME_TOWN": "Vals"}
	for _, test := range []struct {
		name, text string
		want       map[string]string
	}{
		{"plain", "A=b\nC=d", map[string]string{"A": "b", "C": "d"}},
		{"carriage returns", "A=b\r\nC=d\r\n", map[string]string{"A": "b", "C": "d"}},
		{"byte order mark", "\ufeffA=b", map[string]string{"A": "b"}},
		{"export", "export A=b\nexport\tC=d\nexported=e", map[string]string{"A": "b", "C": "d", "exported": "e"}},
		{"blanks around", "  A =  b c  \n", map[string]string{"A": "b c"}},
		{"empty", "A=\nB=''\nC=\"\"", map[string]string{"A": "", "B": "", "C": ""}},
		{"comments", "# all\nA=b # rest\nC='d' # rest\n#E=f", map[string]string{"A": "b", "C": "d"}},
		{"hash within a value", "A=pa#ss\nB=#ss\nC='pa #ss'\nD=\"pa #ss\"", map[string]string{"A": "pa#ss", "B": "#ss", "C": "pa #ss", "D": "pa #ss"}},
		{"dollar unquoted", "A=pa$word\nB=$up\nC=a$$b$\nD=$HOME_TOWN", map[string]string{"A": "pa$word", "B": "$up", "C": "a$$b$", "D": "$HOME_TOWN"}},
		{"dollar in double quotes", `A="pa$word $HOME_TOWN $(id)"`, map[string]string{"A": "pa$word $HOME_TOWN $(id)"}},
		{"dollar in single quotes", `A='pa$word ${HOME_TOWN}'`, map[string]string{"A": "pa$word ${HOME_TOWN}"}},
		{"reference to the environment", "A=${HOME_TOWN}\nB=\"in ${HOME_TOWN}\"", map[string]string{"A": "Vals", "B": "in Vals"}},
		{"reference to the file", "A=b\nC=${A}${NONE}${NONE:-x y}", map[string]string{"A": "b", "C": "bx y"}},
		{"quotes within", `A="say \"hi\""` + "\nB='it\\'s'\nC=it's\nD='a\"b'", map[string]string{"A": `say "hi"`, "B": "it's", "C": "it's", "D": `a"b`}},
		{"doubled quotes are kept", `A="\"x\""`, map[string]string{"A": `"x"`}},
		{"backslashes", `A=a\nb` + "\n" + `B="a\nb\\c\d"` + "\n" + `C='a\nb\\c'`, map[string]string{"A": `a\nb`, "B": "a\nb\\c\\d", "C": `a\nb\c`}},
		{"several lines", "A=\"one\ntwo\"\nB=c", map[string]string{"A": "one\ntwo", "B": "c"}},
		{"bare name", "A\nexport B\nC=d", map[string]string{"C": "d"}},
		{"later wins", "A=1\nA=2", map[string]string{"A": "2"}},
		{"equals signs", "A=b=c==", map[string]string{"A": "b=c=="}},
		{"nothing", "\n \n", map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseDotenv(test.text, lookup(env))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestParseDotenvErrorsNameTheLineAndNoSecret(t *testing.T) {
	for _, test := range []struct{ text, line string }{
		{"A=b\nPASSWORD='canary", "line 2"},
		{"PASSWORD=\"canary\nmore", "line 1"},
		{"A='b\nc'\nPASSWORD='canary' canary", "line 3"},
		{"=canary", "line 1"},
		{"\n\nmy canary = x", "line 3"},
	} {
		_, err := parseDotenv(test.text, lookup(nil))
		if err == nil || !strings.Contains(err.Error(), test.line) || strings.Contains(err.Error(), "canary") {
			t.Errorf("parseDotenv(%q): error %v, want %s and nothing of the content", test.text, err, test.line)
		}
	}
}

// Every value without a single quote or backslash survives single quotes.
func TestDotenvSingleQuotesKeepEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringMatching(`[^'\\]*`).Draw(t, "value")
		got, err := parseDotenv("A='"+want+"' # comment\n", lookup(nil))
		if err != nil || got["A"] != want {
			t.Fatalf("got %q, %v; want %q", got["A"], err, want)
		}
	})
}

func FuzzParseDotenv(f *testing.F) {
	for _, seed := range []string{"A=b", "export A='b'", "A=\"${B:-c}\\n\"", "=", "'", "#", "A='", "\xff=\xfe", "A=${"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := parseDotenv(text, lookup(nil))
		if err == nil && values == nil {
			t.Fatal("no values and no error")
		}
	})
}
