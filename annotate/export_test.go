package annotate

// TracksOf exposes the step from a flat list to tracks, which the reference vectors describe without frames.
var TracksOf = document
