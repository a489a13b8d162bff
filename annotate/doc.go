// Package annotate turns the model's boxes into a sequence annotation.
//
// A camera's sequence is a run of frames, and on each frame the smoke detector drew boxes. An annotator wants to judge
// objects, not boxes: this plume is smoke, that lamp is not. So the boxes of all frames are gathered into clusters of
// boxes that overlap, and every cluster becomes one track of the annotation, for a person to confirm or refuse:
//
//	box string ── ParseBoxes ──▶ boxes ── Sanitize, Acceptable ──▶ what a detection may carry
//	frames     ── Generate ────▶ kept boxes ── Cluster ──▶ clusters ──▶ tracks, one box per frame ──▶ Document
//
// The annotation API can generate annotations by itself. The rules here are its rules (contract C.9, newest tracks), to
// the last bit of every comparison, with one deliberate difference: a box that a frame carries twice counts once
// ([Generate] says why and where).
//
// The package is pure. It does no I/O, has no clock, logs nothing and imports nothing of this project, so that every
// rule can be read, tested and tried by itself. Its neighbours: load decides which frames are annotated and writes the
// document; load/annotation carries [Predictions] and [Document] over HTTP.
//
// # Coordinates
//
// A box is given by two corners as fractions of the image's width and height: 0 to 1, origin at the top left, X1 left
// of X2, Y1 above Y2. Confidence is 0 to 1. Boxes of strangers may break every one of these rules and even so must not
// break anything here: they are parsed, clustered like the annotation API would cluster them, and never come out.
//
// # Arithmetic
//
// All arithmetic is IEEE 754 double precision, and products are written float64(a * b): Go may otherwise fuse a product
// with the addition that follows it on some processors, and one bit decides which cluster a box belongs to (contract
// G4). No function returns an infinity or a NaN.
package annotate
