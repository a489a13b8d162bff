package load

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
)

// note is what a run needs to know of an annotation: little, because it holds those of three days.
type note struct {
	id       int64
	document digest
	ready    bool   // at ready_to_annotate, with neither flag set: as a run writes it
	worked   string // how it shows that a person has worked on it; "" where it does not
	lasting  bool   // an update leaves that showing: the API keeps contributors, and nothing else
}

// noteOf notes what redact leaves of the words.
func noteOf(a *annotation.SequenceAnnotation, redact func(string) string) *note {
	if a == nil {
		return nil
	}
	return &note{
		id:       a.ID,
		document: digestOf(a.Document),
		ready:    a.ProcessingStage == annotation.StageReadyToAnnotate && !a.IsUnsure && !a.HasMissedSmoke,
		worked:   workedOn(*a, redact),
		lasting:  len(a.Contributors) > 0,
	}
}

// byPerson reports whether a person's work shows. Then no row of the sequence is removed, even where the work is
// overwritten: restore needs the rows that it refers to, and with a row the API removes what was annotated on it.
func (n *note) byPerson() bool { return n != nil && n.worked != "" }

// byHand is the note of an annotation whose sequence somebody added in the annotation tool: its boxes are that person's. n
// stays as it is: those of a list are not one sequence's alone.
func (n *note) byHand() *note {
	if n == nil || n.worked != "" {
		return n
	}
	marked := *n
	marked.worked, marked.lasting = "it was added by hand", true
	return &marked
}

// says reports whether the annotation is what a run would write for doc.
func (n *note) says(doc annotate.Document) bool { return n.ready && n.document == digestOf(doc) }

// workedOn returns how it shows that a person has worked on an annotation (DESIGN, promise 9): a stage beyond those that
// machines set, contributors, a chosen type, a track called no smoke, missed smoke, unsure. It is empty where nothing
// shows. A person who only moved boxes at ready_to_annotate leaves no trace in either generation.
func workedOn(a annotation.SequenceAnnotation, redact func(string) string) string {
	const named = 5 // contributors; more than have ever worked on one
	var traces []string
	if a.ProcessingStage != annotation.StageImported && a.ProcessingStage != annotation.StageReadyToAnnotate {
		traces = append(traces, "it is at stage "+redact(a.ProcessingStage))
	}
	if len(a.Contributors) > 0 {
		var names []string
		for _, c := range a.Contributors[:min(len(a.Contributors), named)] {
			names = append(names, redact(c.Username))
		}
		trace := fmt.Sprintf("contributors %q", names)
		if more := len(a.Contributors) - named; more > 0 {
			trace += fmt.Sprintf(" and %d more", more)
		}
		traces = append(traces, trace)
	}
	if a.HasMissedSmoke {
		traces = append(traces, "missed smoke is marked")
	}
	if a.IsUnsure {
		traces = append(traces, "it is marked unsure")
	}
	for _, track := range a.Document.Tracks {
		if track.SmokeType != nil || len(track.FalsePositiveTypes) > 0 || !track.IsSmoke {
			traces = append(traces, "types are chosen")
			break
		}
	}
	return strings.Join(traces, ", ")
}

// digest stands for an annotation document.
type digest [sha256.Size]byte

// digestOf is equal for documents that mean the same: null lists and empty ones do, because a document is encoded with
// empty ones. It is that of the document's JSON, of which it holds a track at a time: the API says how many there are.
func digestOf(doc annotate.Document) digest {
	hash := sha256.New()
	_, _ = io.WriteString(hash, `{"sequences_bbox":[`) // a hash takes everything
	for i, track := range doc.Tracks {
		encoded, err := json.Marshal(track)
		if err != nil { // a coordinate that is no number, which JSON cannot have brought
			return digest{}
		}
		if i > 0 {
			_, _ = io.WriteString(hash, ",")
		}
		_, _ = hash.Write(encoded)
	}
	_, _ = io.WriteString(hash, "]}")
	return digest(hash.Sum(nil))
}
