package report

import (
	"fmt"
	"strings"
	"time"
)

// chart is the confidence of a sequence's boxes over time.
type chart struct {
	Series    []series
	Threshold string // y of the confidence threshold; empty: it is 0
	Boxless   string // path of ticks: frames without boxes
	Missing   string // path of ticks: frames without image
	From, To  string // the times at both ends
	Label     string
}

type series struct {
	Class      string // colour of the cluster; k0 are boxes in none
	Line, Dots string // paths
}

// The drawing of a chart, in its units.
const (
	chartLeft, chartRight = 30.0, 452.0
	chartTop, chartBottom = 10.0, 106.0
	chartLined            = 60  // points; more of them make the line by themselves
	chartColumns          = 120 // more frames share columns: the greatest confidence of each
)

func chartY(confidence float64) float64 {
	return chartBottom - (chartBottom-chartTop)*min(max(confidence, 0), 1)
}

// newChart draws a sequence's confidence; nil where it has no frames.
func newChart(frames []frame, clusters []cluster, threshold float64) *chart {
	if len(frames) == 0 {
		return nil
	}
	first, last := frames[0].at, frames[len(frames)-1].at
	c := &chart{
		From: first.Format(time.TimeOnly), To: last.Format(time.TimeOnly),
		Label: fmt.Sprintf("Confidence of the boxes on %s from %s to %s UTC", plural(len(frames), "frame"), first.Format(time.TimeOnly), last.Format(time.TimeOnly)),
	}
	if threshold > 0 {
		c.Threshold = fmt.Sprintf("%.1f", chartY(threshold))
	}
	columnOf := func(t time.Time) int {
		span := last.Sub(first)
		if span <= 0 {
			return chartColumns / 2
		}
		return int(float64(chartColumns) * float64(t.Sub(first)) / float64(span))
	}
	x := func(column int) float64 {
		return chartLeft + 6 + (chartRight-chartLeft-12)*float64(column)/chartColumns
	}
	peaks := make([]map[int]float64, len(clusters)+1) // by column; the last are boxes in no cluster that is drawn
	for i := range peaks {
		peaks[i] = map[int]float64{}
	}
	var boxless, missing strings.Builder
	lastBoxless, lastMissing := -1, -1
	for _, f := range frames {
		column := columnOf(f.at)
		switch {
		case f.Image.IsZero():
			if column != lastMissing {
				fmt.Fprintf(&missing, "M%.1f %gv-6", x(column), chartBottom)
				lastMissing = column
			}
		case len(f.own) == 0 && column != lastBoxless:
			fmt.Fprintf(&boxless, "M%.1f %gv-4", x(column), chartBottom)
			lastBoxless = column
		}
		for i, box := range f.own {
			of := f.cluster[i]
			if of < 0 || of >= len(clusters) {
				of = len(clusters)
			}
			if known, ok := peaks[of][column]; !ok || box.Confidence > known {
				peaks[of][column] = box.Confidence
			}
		}
	}
	c.Boxless, c.Missing = boxless.String(), missing.String()
	for i, peak := range peaks {
		s := series{Class: "k0"}
		if i < len(clusters) {
			s.Class = clusters[i].Class
		}
		var line, dots strings.Builder
		for column := range chartColumns + 1 {
			confidence, ok := peak[column]
			if !ok {
				continue
			}
			command := "L"
			if line.Len() == 0 {
				command = "M"
			}
			fmt.Fprintf(&line, "%s%.1f %.1f", command, x(column), chartY(confidence))
			fmt.Fprintf(&dots, "M%.1f %.1fh0", x(column), chartY(confidence))
		}
		if dots.Len() == 0 {
			continue
		}
		if s.Dots = dots.String(); s.Class != "k0" && len(peak) <= chartLined {
			s.Line = line.String()
		}
		c.Series = append(c.Series, s)
	}
	return c
}
