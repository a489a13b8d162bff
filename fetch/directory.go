package fetch

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// directory is whom sequences belong to. It is read once, before any sequence, and only read afterwards.
type directory struct {
	cameras       map[int64]*store.Camera
	organizations map[int64]*store.Organization
}

// readDirectory reads cameras and organizations and writes what changed of them. What the account may not read is a
// problem of the report, not the end: the bundle's own documents, where it has some, stand in.
func (r *run) readDirectory(ctx context.Context) error {
	r.directory = directory{cameras: map[int64]*store.Camera{}, organizations: map[int64]*store.Organization{}}
	if err := r.recallDirectory(ctx); err != nil {
		return err
	}
	var organizations platform.Page[store.Organization]
	var organizationsErr error
	var both sync.WaitGroup
	both.Go(func() { organizations, organizationsErr = r.organizations(ctx) })
	cameras, err := r.src.Cameras(ctx)
	both.Wait()
	if err := r.unreadable(ctx, "camera", err, cameras.Unreadable); err != nil {
		return err
	}
	if err := r.unreadable(ctx, "organization", organizationsErr, organizations.Unreadable); err != nil {
		return err
	}
	if r.dst != nil {
		cameras.Rows, err = keep(ctx, r, "camera", cameras.Rows, r.dst.PutCameras, func(c store.Camera) int64 { return c.ID })
		if err != nil {
			return err
		}
		organizations.Rows, err = keep(ctx, r, "organization", organizations.Rows, r.dst.PutOrganizations,
			func(o store.Organization) int64 { return o.ID })
		if err != nil {
			return err
		}
	}
	for _, camera := range cameras.Rows {
		r.directory.cameras[camera.ID] = &camera
	}
	for _, organization := range organizations.Rows {
		r.directory.organizations[organization.ID] = &organization
	}
	return nil
}

// keep puts documents of the directory into the bundle and returns them without those that it refuses, which are named:
// every sequence that carried one would be refused with it.
func keep[T any](ctx context.Context, r *run, kind string, rows []T, put func(context.Context, []T) error, id func(T) int64) ([]T, error) {
	if err := put(ctx, rows); !errors.Is(err, store.ErrRefused) {
		return rows, err
	}
	var taken []T
	for _, row := range rows {
		err := put(ctx, []T{row})
		switch {
		case err == nil:
			taken = append(taken, row)
		case errors.Is(err, store.ErrRefused):
			r.ledger.add(r.problem(store.Incomplete, kind, strconv.FormatInt(id(row), 10), 0, err.Error()))
		default:
			return nil, err
		}
	}
	return taken, nil
}

// recallDirectory takes what the bundle knows, so that a camera that was taken down keeps its place.
func (r *run) recallDirectory(ctx context.Context) error {
	if r.have == nil {
		return nil
	}
	for camera, err := range r.have.Cameras(ctx) {
		if err != nil {
			return err
		}
		r.directory.cameras[camera.ID] = &camera
	}
	for organization, err := range r.have.Organizations(ctx) {
		if err != nil {
			return err
		}
		r.directory.organizations[organization.ID] = &organization
	}
	return nil
}

func (r *run) organizations(ctx context.Context) (platform.Page[store.Organization], error) {
	if !r.cfg.Organizations {
		return platform.Page[store.Organization]{}, nil
	}
	return r.src.Organizations(ctx)
}

// unreadable tells what of a directory could not be read. Only organizations can be done without when the request
// failed for another reason than a right that is missing: a name can come later, a run without any camera is in vain.
func (r *run) unreadable(ctx context.Context, kind string, err error, rows []error) error {
	switch {
	case err == nil:
	case endsRun(ctx, err):
		return err
	case httpapi.Status(err) == http.StatusForbidden, errors.Is(err, platform.ErrNoAdmin):
		r.ledger.add(r.problem(store.Incomplete, kind, "all", 0, err.Error()))
	case kind == "organization":
		r.ledger.add(r.problem(store.Failed, kind, "all", 0, err.Error()))
	default:
		return err
	}
	for i, row := range rows {
		r.ledger.add(r.problem(store.Incomplete, kind, "row "+strconv.Itoa(i), 0, row.Error()))
	}
	return nil
}

// attach gives a record its camera and organization as of now; what the platform no longer shows stays as it was.
func (d directory) attach(record *store.SequenceRecord) {
	if camera := d.cameras[record.Sequence.CameraID]; camera != nil {
		record.Camera = camera
	}
	if organization := d.organizations[record.OrganizationID()]; organization != nil {
		record.Organization = organization
	}
}

// unloadable says why an annotation API would not take the sequence, empty where it would (contract B.2, pitfall E9).
func unloadable(record *store.SequenceRecord) string {
	var missing []string
	switch camera := record.Camera; {
	case camera == nil:
		return "camera " + strconv.FormatInt(record.Sequence.CameraID, 10) + " is not shown by the platform"
	case strings.TrimSpace(camera.Name) == "":
		missing = append(missing, "camera name")
		fallthrough
	default:
		if camera.Lat == nil || camera.Lon == nil {
			missing = append(missing, "coordinates of camera "+strconv.FormatInt(camera.ID, 10))
		}
	}
	if record.Organization == nil || strings.TrimSpace(record.Organization.Name) == "" {
		missing = append(missing, "name of organization "+strconv.FormatInt(record.OrganizationID(), 10))
	}
	if len(missing) == 0 {
		return ""
	}
	return strings.Join(missing, " and ") + " missing"
}
