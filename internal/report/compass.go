package report

import (
	"fmt"
	"math"
	"strings"
)

// compass is the bearing of a camera: north is up, degrees run clockwise.
type compass struct {
	Wedge    string // path of the view; empty: the angle is not known
	Round    bool   // the camera sees all around
	Needle   string // path of the azimuth
	Bearings []ray
	Text     string
}

type ray struct {
	Class string // colour of the cluster
	Path  string
	Title string
}

const (
	compassCentre = 70.0
	compassRadius = 48.0
)

// newCompass draws the azimuth, the view, and where in it the clusters lie. Nil where the azimuth is not known.
func newCompass(azimuth, view *float64, clusters []cluster) *compass {
	if azimuth == nil || !(math.Abs(*azimuth) <= 1e6) {
		return nil
	}
	north := math.Mod(math.Mod(*azimuth, 360)+360, 360)
	c := &compass{Needle: radius(north, 0, compassRadius), Text: decimal(north) + "° " + point(north)}
	if view == nil || !(*view > 0 && *view <= 360) {
		return c
	}
	c.Text += ", view " + decimal(*view) + "°"
	if *view > 359 {
		c.Round = true
	} else {
		ax, ay := at(north-*view/2, compassRadius)
		bx, by := at(north+*view/2, compassRadius)
		large := 0
		if *view > 180 {
			large = 1
		}
		c.Wedge = fmt.Sprintf("M%g %gL%.1f %.1fA%g %g 0 %d 1 %.1f %.1fZ",
			compassCentre, compassCentre, ax, ay, compassRadius, compassRadius, large, bx, by)
	}
	for _, cluster := range clusters {
		bearing := math.Mod(north+(cluster.centre-0.5)*(*view)+360, 360)
		c.Bearings = append(c.Bearings, ray{
			Class: cluster.Class, Path: radius(bearing, 10, compassRadius+7),
			Title: fmt.Sprintf("cluster %d: about %.0f°", cluster.Number, math.Mod(math.Round(bearing), 360)),
		})
	}
	return c
}

// at is the point in a direction, in degrees from north, at a distance from the compass's centre.
func at(degrees, distance float64) (x, y float64) {
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	return compassCentre + distance*sin, compassCentre - distance*cos
}

func radius(degrees, from, to float64) string {
	ax, ay := at(degrees, from)
	bx, by := at(degrees, to)
	return fmt.Sprintf("M%.1f %.1fL%.1f %.1f", ax, ay, bx, by)
}

// point names one of sixteen directions.
func point(degrees float64) string {
	names := strings.Fields("N NNE NE ENE E ESE SE SSE S SSW SW WSW W WNW NW NNW")
	return names[int(math.Round(degrees/22.5))%16]
}
