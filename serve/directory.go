package serve

import (
	"context"
	"encoding/json"
	"fmt"

	"pyrobundle/store"
)

// cameraFields are what a camera's answer has beside its document: the platform's last sign of life, which a bundle does
// not hold. Its null values are what the platform answers for a camera that has never sent an image.
func cameraFields() []field {
	return []field{null("last_active_at"), null("last_image"), null("last_image_url")}
}

// listCameras answers GET /cameras/: by id, without those that are not trustable unless asked for (contract A.6).
func (s *server) listCameras(c *call) error {
	in := c.query()
	all := in.boolean("include_non_trustable", false)
	if err := in.problems(); err != nil {
		return err
	}
	answer := c.list()
	for camera, err := range s.bundle.Cameras(c.r.Context()) {
		if err != nil {
			return fmt.Errorf("read cameras: %w", err)
		}
		if !c.caller.sees(camera.OrganizationID) || (!all && camera.IsTrustable != nil && !*camera.IsTrustable) {
			continue
		}
		if err := answer.add(camera.Document, cameraFields()...); err != nil {
			return fmt.Errorf("camera %d: %w", camera.ID, err)
		}
	}
	return answer.end()
}

// camera answers GET /cameras/{id}.
func (s *server) camera(c *call) error {
	for camera, err := range s.bundle.Cameras(c.r.Context()) {
		if err != nil {
			return fmt.Errorf("read cameras: %w", err)
		}
		if camera.ID != c.id {
			continue
		}
		if !c.caller.sees(camera.OrganizationID) {
			return forbidden()
		}
		return c.document(camera.Document, cameraFields()...)
	}
	return noEntry("Camera")
}

// findPose returns the pose of the path as it stands in its camera's document, if the caller may see it. A bundle knows the
// active poses, which are those that the platform lists with a camera.
func (s *server) findPose(ctx context.Context, c *call) (json.RawMessage, error) {
	for camera, err := range s.bundle.Cameras(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read cameras: %w", err)
		}
		pose, ok := poseOf(camera, c.id)
		if !ok {
			continue
		}
		if !c.caller.sees(camera.OrganizationID) {
			return nil, forbidden()
		}
		return pose, nil
	}
	return nil, noEntry("Pose")
}

// poseOf finds a pose in a camera's document; documents without poses, or with something else by that name, have none.
func poseOf(camera store.Camera, id int64) (json.RawMessage, bool) {
	var view struct {
		Poses []json.RawMessage `json:"poses"`
	}
	if json.Unmarshal(camera.Document, &view) != nil {
		return nil, false
	}
	for _, pose := range view.Poses {
		var p struct {
			ID int64 `json:"id"`
		}
		if json.Unmarshal(pose, &p) == nil && p.ID == id {
			return pose, true
		}
	}
	return nil, false
}

// pose answers GET /poses/{id}. Pose images are not in a bundle.
func (s *server) pose(c *call) error {
	pose, err := s.findPose(c.r.Context(), c)
	if err != nil {
		return err
	}
	return c.document(pose, null("image"), null("image_url"))
}

// poseMasks answers GET /poses/{id}/occlusion_masks: a bundle has none.
func (s *server) poseMasks(c *call) error {
	if _, err := s.findPose(c.r.Context(), c); err != nil {
		return err
	}
	return c.list().end()
}

// mask answers GET /occlusion_masks/{id}: a bundle has none.
func (s *server) mask(*call) error { return noEntry("OcclusionMask") }

// organizationFields are the two secrets of an organization, which no bundle holds.
func organizationFields() []field { return []field{null("slack_hook"), null("telegram_id")} }

// listOrganizations answers GET /organizations/.
func (s *server) listOrganizations(c *call) error {
	answer := c.list()
	for o, err := range s.bundle.Organizations(c.r.Context()) {
		if err != nil {
			return fmt.Errorf("read organizations: %w", err)
		}
		if err := answer.add(o.Document, organizationFields()...); err != nil {
			return fmt.Errorf("organization %d: %w", o.ID, err)
		}
	}
	return answer.end()
}

// organization answers GET /organizations/{id}.
func (s *server) organization(c *call) error {
	for o, err := range s.bundle.Organizations(c.r.Context()) {
		if err != nil {
			return fmt.Errorf("read organizations: %w", err)
		}
		if o.ID == c.id {
			return c.document(o.Document, organizationFields()...)
		}
	}
	return noEntry("Organization")
}
