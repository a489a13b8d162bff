package fetch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pyrobundle/store"
)

// TestRepairAsksAgainForExactlyWhatIsDamaged: one image of one sequence. Whether the bundle's copy can be replaced is the
// store's to say; if it cannot, that is a failure of the report and not a success.
func TestRepairAsksAgainForExactlyWhatIsDamaged(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	p.sequence(42, 1, started(firstDay, 1), 3)
	b := newBundle(t, p)
	b.fetch(config())
	whole := b.digest()
	shard := filepath.Join(b.path, "images", "000001.tar")
	data, err := os.ReadFile(shard)
	if err != nil {
		t.Fatal(err)
	}
	data[512+40] ^= 0xff // a byte of the first image
	if err := os.WriteFile(shard, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var findings []store.Finding
	b.read(func(opened *store.Bundle) {
		report, err := opened.Verify(t.Context(), store.VerifyOptions{ReadData: true})
		if err != nil {
			t.Fatal(err)
		}
		findings = report.Findings
	})
	if len(findings) != 1 || len(findings[0].Sequences) != 1 {
		t.Fatalf("findings %+v, want one of one sequence", findings)
	}
	damaged := findings[0].Sequences[0]
	p.forgetRequests()
	cfg := config()
	cfg.From, cfg.To, cfg.Repair = "", "", findings
	result := b.fetch(cfg)
	if images, listings := p.asked("image "), p.asked("/detections?"); images != 1 || listings != 1 ||
		p.asked(fmt.Sprintf("/%d/detections", damaged)) != 1 {
		t.Errorf("%d images and %d listings asked for", images, listings)
	}
	var after store.Report
	b.read(func(opened *store.Bundle) {
		var err error
		if after, err = opened.Verify(t.Context(), store.VerifyOptions{ReadData: true}); err != nil {
			t.Fatal(err)
		}
	})
	if len(after.Findings) > 0 {
		wantOneProblem(t, result, store.Failed, fmt.Sprintf("image %d/", damaged), "stays damaged")
		return
	}
	wantNoProblems(t, result)
	if b.digest() != whole {
		t.Error("the repaired bundle differs")
	}
}

// TestRepairAsksForNoSequenceThatOnlyADamagedKeyNames: the platform has none, or none of such an id can be, and what it answered to
// that stayed on record for good.
func TestRepairAsksForNoSequenceThatOnlyADamagedKeyNames(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	b := newBundle(t, p)
	b.fetch(config())
	p.forgetRequests()
	cfg := config()
	cfg.From, cfg.To = "", ""
	cfg.Repair = []store.Finding{{Object: "sequence 4242", Sequences: []int64{4242}}}
	wantNoProblems(t, b.fetch(cfg))
	if n := p.asked("/4242"); n != 0 {
		t.Errorf("it was asked for %d times", n)
	}
}
