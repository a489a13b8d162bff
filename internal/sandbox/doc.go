// Package sandbox is the world that pyrobundle is tried in: synthetic data written into a bundle, and an in-memory
// annotation API of either generation, as strict as the real one.
//
// Its neighbours: the store, into which the synthetic world is written; serve, which answers that bundle as the
// platform; and every test that needs both ends of a transfer. It shares no code with annotate: the annotations that
// the API generates by itself are the oracle for those that the project computes.
package sandbox
