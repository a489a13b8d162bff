package sandbox

import (
	"encoding/json"
	"time"
)

// The organizations of the synthetic world. The first is the platform's own and has no cameras.
const (
	OrganizationAdmin    int64 = 1
	OrganizationCevennes int64 = 2
	OrganizationNuble    int64 = 3
	OrganizationFujimi   int64 = 4
)

// CameraNonTrustable is hidden from camera listings that do not ask for such (contract A.6).
const CameraNonTrustable int64 = 3

func worldOrganizations() []organizationDocument {
	return []organizationDocument{
		{Name: "admin", ID: OrganizationAdmin},
		{Name: "SDIS des Cévennes", ID: OrganizationCevennes},
		{Name: "Brigada de Ñuble", ID: OrganizationNuble},
		{Name: "富士見消防団", ID: OrganizationFujimi},
	}
}

// posesPerCamera is how many directions each camera patrols.
const posesPerCamera = 3

// station is a camera; degrees of angle in tenths.
type station struct {
	organization int64
	name         string
	lat, lon     json.Number
	view         int
	azimuths     [posesPerCamera]int // among them north itself and halves, which round to even and over north
}

// stations are the cameras; the first has id 1, its poses the ids 1 to 3.
func stations() []station {
	return []station{
		{OrganizationCevennes, "mont-lozère-01", "44.43", "3.73", 542, [3]int{0, 1204, 2408}},
		{OrganizationCevennes, "serre-de-barre-02", "44.41", "4.07", 870, [3]int{3595, 1195, 2395}},
		{OrganizationCevennes, "pic-de-l'étoile-03", "44.1", "3.98", 542, [3]int{5, 15, 25}},
		{OrganizationNuble, "cerro-ñirre-01", "-36.85", "-71.52", 870, [3]int{445, 1649, 2853}},
		{OrganizationNuble, "loma-baja-02", "-36.61", "-72.1", 365, [3]int{900, 3599, 1794}},
		{OrganizationFujimi, "富士見台-01", "35.9", "138.25", 542, [3]int{125, 1325, 2525}},
		{OrganizationFujimi, "岩峰-02", "35.93", "138.31", 542, [3]int{2700, 301, 1502}},
	}
}

// poseID returns the id of a camera's pose, which is 0 to 2.
func poseID(camera int64, pose int) int64 { return (camera-1)*posesPerCamera + int64(pose) + 1 }

// worldCameras are the documents of the stations, which were set up ten days before the first.
func worldCameras(first time.Time) []cameraDocument {
	var cameras []cameraDocument
	for i, s := range stations() {
		id := int64(i + 1)
		c := cameraDocument{
			Elevation: jsonFloat(3500+375*i, 1), Lat: s.lat, Lon: s.lon,
			OrganizationID: s.organization, Name: s.name, AngleOfView: jsonFloat(s.view, 1),
			IsTrustable: id != CameraNonTrustable, ID: id,
			CreatedAt: platformTime(first.AddDate(0, 0, -10).Add(time.Duration(i)*time.Minute + 1719*time.Microsecond)),
		}
		for pose, azimuth := range s.azimuths {
			c.Poses = append(c.Poses, poseDocument{
				Azimuth: jsonFloat(azimuth, 1), PatrolID: pose, Active: true, ID: poseID(id, pose), CameraID: id,
			})
		}
		cameras = append(cameras, c)
	}
	return cameras
}
