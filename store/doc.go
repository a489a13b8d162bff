// Package store is the bundle: a directory that mirrors sequences, detections and images of an alert platform.
//
// It knows the record types, the file format (docs/bundle-format.md), transactions, reading and verifying, and nothing of
// HTTP. It is the only package that knows bbolt, zstd and tar. Its neighbours: fetch writes through a Writer; load, serve
// and the commands read through a Bundle.
package store
