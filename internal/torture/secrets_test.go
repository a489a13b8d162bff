package torture

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// canaries collects what must not appear anywhere: what the test plants, and every token and signature that passes by.
type canaries struct {
	mu    sync.Mutex
	found map[string]string // the secret and what it is
}

func (c *canaries) add(secret, what string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil {
		c.found = map[string]string{}
	}
	if len(secret) >= 8 {
		c.found[secret] = what
		c.found[url.QueryEscape(secret)] = what
	}
	return secret
}

var (
	signatures = regexp.MustCompile(`(?:Signature|X-Amz-Credential|AWSAccessKeyId)=([^&"\\<\s]+)`)
	tokens     = regexp.MustCompile(`"access_token":\s*"([^"]+)"`)
)

// watch stands before an API: it plants canaries in its documents, notes the secrets that it gives, and answers every
// ninth request, and the first login, with an error that repeats everything that was sent, as careless servers do.
func (c *canaries) watch(next http.Handler) http.Handler {
	var requests, logins int
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests++
		number := requests
		login := r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/login")
		if login {
			logins++
		}
		first := login && logins == 1
		mu.Unlock()
		if token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); token != "" {
			c.add(token, "a token")
		}
		if number%9 == 0 || first {
			body, _ := io.ReadAll(io.LimitReader(r.Body, 2000)) // of a test's own request
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader([]int{http.StatusInternalServerError, http.StatusServiceUnavailable}[number%2])
			detail := inManySpellings(body) + fmt.Sprintf("token=%s for %s with %q from %v", r.Header.Get("Authorization"), r.URL, body, r.Header)
			text, _ := json.Marshal(map[string]string{"detail": detail}) // of strings
			_, _ = w.Write(text)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/storage/") {
			next.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		text := c.plant(r.URL.Path, recorded.Body.String())
		for _, match := range signatures.FindAllStringSubmatch(text, -1) {
			if match[1] != "pyrobundle" { // the served bundle's access key, which is the program's name
				c.add(match[1], "a signature")
			}
		}
		for _, match := range tokens.FindAllStringSubmatch(text, -1) {
			c.add(match[1], "a token")
		}
		for name, values := range recorded.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(recorded.Code)
		_, _ = io.WriteString(w, text)
	})
}

// inManySpellings are the values of a form, as servers in other languages write them; no name gives them away.
func inManySpellings(form []byte) string {
	values, err := url.ParseQuery(string(form))
	if err != nil {
		return ""
	}
	value := values.Get("password")
	inJSON, _ := json.Marshal(value) // of a string
	return fmt.Sprintf("%s %+q %s %s ", inJSON, value, html.EscapeString(value), strings.ToLower(url.PathEscape(value)))
}

// plant adds to documents what real ones have, or may have one day.
func (c *canaries) plant(path, text string) string {
	fields := map[string]string{}
	switch {
	case strings.HasSuffix(path, "/organizations/"):
		fields = map[string]string{
			"slack_hook":  c.add("https://hooks.slack.example/services/T00/B00/CANARYslackhook0123456789", "a hook"),
			"telegram_id": c.add("CANARY-100telegram99887766", "a Telegram id"),
		}
	case strings.HasSuffix(path, "/cameras/"):
		fields = map[string]string{
			"last_image_url": c.add("https://s3.example/b/k.jpg?X-Amz-Signature=CANARYcamera0123456789abcdef", "a camera's URL"),
			"rtsp_password":  c.add("CANARYrtsp0123", "a camera's password"),
			"note":           c.add("eyJhbGciOiJIUzI1NiJ9.eyJDQU5BUlkiOjF9.CANARYcamerajwt", "a token in an unknown field"),
		}
	case strings.HasSuffix(path, "/fromdate"):
		fields = map[string]string{"alert_hook": c.add("https://hooks.example/CANARYalert0123", "an unknown hook")}
	case strings.HasSuffix(path, "/detections"):
		fields = map[string]string{"crop_url": c.add("https://s3.example/c.jpg?Signature=CANARYcrop0123456789&Expires=1", "a crop's URL")}
	}
	var rows []map[string]json.RawMessage
	if len(fields) == 0 || json.Unmarshal([]byte(text), &rows) != nil {
		return text
	}
	for _, row := range rows {
		for name, value := range fields {
			row[name], _ = json.Marshal(value) // of a string
		}
	}
	planted, err := json.Marshal(rows)
	if err != nil {
		return text
	}
	return strings.ReplaceAll(string(planted), `\u0026`, "&")
}

// expectNone fails the test if any canary is in the text.
func (c *canaries) expectNone(t *testing.T, where, text string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for secret, what := range c.found {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("%s holds %s: …%s…", where, what, text[max(0, at-80):min(len(text), at+len(secret)+20)])
		}
	}
	if at := strings.Index(text, "CANARY"); at >= 0 {
		t.Errorf("%s holds a part of a canary: …%s…", where, text[max(0, at-80):min(len(text), at+60)])
	}
}

// expectNoneInFiles looks into every file below dir, and into what a bundle there keeps compressed.
func (c *canaries) expectNoneInFiles(t *testing.T, dir string, except ...string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, name := range except {
			if d.Name() == name {
				return nil
			}
		}
		data, err := os.ReadFile(path)
		c.expectNone(t, path, string(data))
		if d.Name() == "index.db" {
			c.expectNone(t, path+", decoded", documentsOf(t, filepath.Dir(path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// documentsOf is everything that a bundle has in words.
func documentsOf(t *testing.T, path string) string {
	t.Helper()
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()
	var b strings.Builder
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for r, err := range bundle.Sequences(t.Context(), store.Query{}) {
		check(err)
		fmt.Fprintf(&b, "%s\n", r.Sequence.Document)
		if r.Camera != nil {
			fmt.Fprintf(&b, "%s\n", r.Camera.Document)
		}
		if r.Organization != nil {
			fmt.Fprintf(&b, "%s\n", r.Organization.Document)
		}
		for _, d := range r.Detections {
			fmt.Fprintf(&b, "%s\n", d.Document)
		}
		for _, f := range r.Frames {
			fmt.Fprintln(&b, f.Key, f.Problem)
		}
	}
	for row, err := range bundle.Cameras(t.Context()) {
		check(err)
		fmt.Fprintf(&b, "%s\n", row.Document)
	}
	for row, err := range bundle.Organizations(t.Context()) {
		check(err)
		fmt.Fprintf(&b, "%s\n", row.Document)
	}
	for p, err := range bundle.Problems(t.Context()) {
		check(err)
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// TestNoSecretIsLeftAnywhere: every password, token, signature and hook is a canary. The whole command line runs at debug
// level over a bad network, against servers that repeat in their errors whatever they were sent. None of it is in stdout,
// stderr, the bundle, or what is saved of annotations.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	t.Parallel()
	for _, generation := range generations {
		t.Run(generation, func(t *testing.T) {
			t.Parallel()
			var c canaries
			platformPassword := c.add(`CANARYplatform p/w?&%"'1é`, "the platform's password")
			annotationPassword := c.add(`CANARYannotation & <pw>, é\2`, "the annotation API's password")
			s := newStage(t)
			faults := badNetwork(5)
			faults.Rate = 0.1
			account := serve.Account{Login: "jo", Password: platformPassword, Scope: "admin"}
			s.serveBundle(world, serve.Options{Accounts: []serve.Account{account}}, faults, c.watch)
			s.serveTarget(sandbox.AnnotationOptions{Generation: generation, Login: "ann", Password: annotationPassword}, faults, c.watch)
			s.env = append(s.env, "PLATFORM_LOGIN=jo", "PLATFORM_PASSWORD="+platformPassword, "PLATFORM_ADMIN_LOGIN=jo", "PLATFORM_ADMIN_PASSWORD="+platformPassword,
				"LOCAL_ANNOTATION_LOGIN=ann", "LOCAL_ANNOTATION_PASSWORD="+annotationPassword)
			check := func(e ended, codes ...int) ended {
				t.Helper()
				args := e.args
				if !slices.Contains(codes, e.code) {
					t.Errorf("exit %d, want one of %v\n%s", e.code, codes, e)
				}
				c.expectNone(t, "stdout of "+args[0], e.stdout)
				c.expectNone(t, "stderr of "+args[0], e.stderr)
				if strings.Contains(e.stderr, "Bearer ey") || strings.Contains(e.stderr, "Signature=") && !strings.Contains(e.stderr, "Signature=***") {
					t.Errorf("%s shows an Authorization header or a signature\n%s", args[0], e)
				}
				return e
			}
			run := func(args ...string) ended { // over the network: whatever it brings about, but not that nothing could be done
				t.Helper()
				return check(s.run(args...), exitDone, exitFailures)
			}
			local := func(args ...string) ended {
				t.Helper()
				return check(s.run(append(args, "--loglevel", "debug")...), exitDone)
			}
			debug := func(args []string, more ...string) []string {
				return append(append(args, "--loglevel", "debug", "--retry-for", "3s", "--sequence-list", "101,102,103,105,106"), more...)
			}
			run(debug(s.importArgs())...)
			run(debug(s.fetchArgs())...)
			run(debug(s.loadArgs())...)
			shard := filepath.Join(s.bundle, "images", "000001.tar")
			rotten := members(t, shard)[0]
			flip(t, shard, rotten[0]+rotten[1]/2)
			run(debug(s.fetchArgs("--repair"))...)

			reviewed := 0
			for _, row := range s.api.Annotations() {
				s.api.EditAnnotation(row.ID, func(a *sandbox.AnnotationRow) { a.Stage, a.Contributors = "seq_annotation_done", []string{"jane"} })
				reviewed++
			}
			if reviewed == 0 {
				t.Fatal("nothing was loaded")
			}
			e := run(debug(s.loadArgs("--existing", "overwrite", "--min-cluster-size", "2"))...)
			if undo := e.report(t).UndoFiles; len(undo) == 0 {
				t.Errorf("nothing was saved of %d reviewed annotations\n%s", reviewed, e)
			} else {
				restore := []string{"restore", undo[0], "--url-api-annotation", s.target.URL, "--loglevel", "debug", "--retry-for", "3s"}
				for runs := 0; check(s.run(restore...), exitDone, exitFailures, exitError).code != exitDone; runs++ { // it names what a lost answer left undone
					if runs == 2*maxRuns {
						t.Fatalf("nothing was restored in %d runs", runs)
					}
				}
			}
			run(append(s.annotateArgs(), "--loglevel", "debug", "--retry-for", "3s")...)

			copied := filepath.Join(s.home, "copied.bundle")
			for _, what := range [][]string{nil, {"cameras"}, {"days"}, {"sequences"}, {"problems"}, {"sequence", "101"}} {
				check(s.run(append(append([]string{"inspect"}, what...), "--bundle", s.bundle)...), exitDone) // it logs nothing
			}
			local("verify", "--read-data", "--bundle", s.bundle)
			check(s.run("digest", "--bundle", s.bundle), exitDone)
			local("report", "--bundle", s.bundle, "-o", filepath.Join(s.home, "report.html"))
			local("pack", "--bundle", s.bundle, "-o", filepath.Join(s.home, "packed.tar"))
			local("pack", "--bundle", s.bundle, "-o", "-")
			local("unpack", filepath.Join(s.home, "packed.tar"), "-o", copied)
			local("diff", s.bundle, copied)
			local("merge", "-o", filepath.Join(s.home, "merged.bundle"), s.bundle, copied)

			s.env = append(s.env, "SERVED_PASSWORD="+platformPassword)
			served := s.start("serve", "--json", "--bundle", copied, "--login", "jo", "--password-env", "SERVED_PASSWORD", "--loglevel", "debug")
			behind := *s
			behind.platform, behind.bundle = s.before(served, faults, c.watch), filepath.Join(s.home, "served.bundle")
			check(behind.run(debug(behind.fetchArgs())...), exitDone, exitFailures)
			behind.env = append(slices.Clone(s.env), "PLATFORM_PASSWORD="+c.add("CANARYmistyped-pw", "a mistyped password"))
			check(behind.run(debug(behind.fetchArgs())...), exitRefused)
			check(served.interrupt(), exitDone)

			accounts := filepath.Join(s.home, "accounts.json")
			text, err := json.Marshal(map[string]string{"jo": platformPassword, "bo": c.add("CANARYwrong-account-pw", "another account's password")})
			s.must(err)
			s.must(os.WriteFile(accounts, text, 0o600))
			run(debug(s.fetchArgs("--accounts", accounts))...)
			c.expectNoneInFiles(t, s.home, "accounts.json")
		})
	}
}

// before puts a proxy before the platform that a process serves, as soon as it does.
func (s *stage) before(served *process, plan faultproxy.Plan, wrap func(http.Handler) http.Handler) *faultproxy.Server {
	s.t.Helper()
	var report struct{ URL string }
	s.until(func() bool { return json.Unmarshal([]byte(served.stdout.String()), &report) == nil })
	at, err := url.Parse(report.URL)
	s.must(err)
	_, server := s.listen(wrap(faultproxy.To(at)), plan)
	return server
}

// interrupt ends a process as Ctrl-C does; where there are no signals it is killed, which counts as its end.
func (p *process) interrupt() ended {
	p.s.t.Helper()
	if runtime.GOOS == "windows" {
		p.kill()
		e := p.wait()
		e.code = exitDone
		return e
	}
	p.s.must(p.cmd.Process.Signal(os.Interrupt))
	return p.wait()
}

// TestAnswersLongerThanTheySay: what follows an answer, net/http writes to the standard logger, which is stderr unless
// somebody says otherwise: "Unsolicited response received on idle HTTP channel starting with …".
func TestAnswersLongerThanTheySay(t *testing.T) {
	t.Parallel()
	var c canaries
	s := newStage(t)
	s.servePlatform(faultproxy.Plan{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/fromdate") {
				next.ServeHTTP(w, r)
				return
			}
			c.add(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "a token")
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]CANARY %s", r.Header.Get("Authorization"))
			_, _ = conn.Read(make([]byte, 1)) // until the client hangs up
		})
	})
	for _, level := range []string{"error", "debug"} {
		e := s.expect(s.run(s.fetchArgs("--loglevel", level)...), exitDone)
		c.expectNone(t, "stdout", e.stdout)
		c.expectNone(t, "stderr", e.stderr)
		if strings.Contains(e.stderr, "Unsolicited") {
			t.Errorf("net/http speaks for itself\n%s", e)
		}
	}
}

// TestMistypedSecretsAreNotRepeated: in addresses, env files, accounts, proxies, and by servers that refuse them.
func TestMistypedSecretsAreNotRepeated(t *testing.T) {
	t.Parallel()
	var c canaries
	s := newStage(t)
	s.servePlatform(faultproxy.Plan{}, c.watch)
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, c.watch)
	host := strings.TrimPrefix(s.platform.URL, "http://")
	wrong := c.add("CANARYwrong0123456789", "a wrong password")
	s.must(os.WriteFile(filepath.Join(s.home, "broken.env"), []byte("PLATFORM_PASSWORD='CANARYquote\nX CANARYline\n=CANARY\n"), 0o600))
	s.must(os.WriteFile(filepath.Join(s.home, "broken.json"), []byte(`{"jo": "CANARYaccount", "bo": 7}`), 0o600))
	s.must(os.Mkdir(filepath.Join(s.home, "state"), 0o700))
	for _, try := range []struct {
		args []string
		env  string
		code int
	}{
		{s.fetchArgs(), "PLATFORM_PASSWORD=" + wrong, exitRefused},
		{s.fetchArgs(), "PLATFORM_ADMIN_PASSWORD=" + wrong, exitRefused},
		{append(s.loadArgs(), "--bundle", world), "LOCAL_ANNOTATION_PASSWORD=" + wrong, exitRefused},
		{s.fetchArgs("--url-api-platform", "http://jo:CANARYuserinfo@"+host), "", exitUsage},
		{s.fetchArgs("--url-api-platform", "http://jo:CANARY/user@"+host), "", exitUsage},
		{s.fetchArgs("--url-api-platform", "http://jo:12345/CANARY@"+host), "", exitUsage},
		{s.fetchArgs("--url-api-platform", "http://jo:12345#CANARY@"+host), "", exitUsage},
		{append(s.loadArgs(), "--bundle", world, "--url-api-annotation", "http://jo:12345?CANARY@"+host), "", exitUsage},
		{s.fetchArgs("--url-api-platform", s.platform.URL+"?token=CANARYquery"), "", -2},
		{append(s.loadArgs(), "--bundle", world, "--url-api-annotation", "http://jo:CANARYuserinfo@"+host), "", exitUsage},
		{s.fetchArgs("--env-file", filepath.Join(s.home, "broken.env")), "", -2},
		{s.fetchArgs("--accounts", filepath.Join(s.home, "broken.json")), "", -2},
		{s.fetchArgs("--url-api-platform", "http://platform.example", "--retry-for", "1s"), "HTTP_PROXY=http://jo:CANARYproxy@127.0.0.1:1", exitError},
		{s.fetchArgs("--url-api-platform", "http://platform.example", "--retry-for", "1s"), "HTTP_PROXY=http://jo:CANARY%zz@127.0.0.1:1", exitError},
	} {
		here := *s
		here.env = append(append([]string{}, s.env...), "NO_PROXY=", try.env)
		e := here.run(append(try.args, "--loglevel", "debug")...)
		if try.code != -2 && e.code != try.code {
			t.Errorf("exit %d, want %d\n%s", e.code, try.code, e)
		}
		c.expectNone(t, "stdout", e.stdout)
		c.expectNone(t, "stderr", e.stderr)
	}
	c.expectNoneInFiles(t, filepath.Join(s.home, "state"))
}
