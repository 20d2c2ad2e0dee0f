// Package bundle holds the Rego of Sourceward: the embedded modules with their data, and the
// compiler that turns them and the modules of SourceIPPolicy objects into a [Set].
//
// What it compiles is hermetic: Rego v1, strict, checked against the schema of the input, and
// without the built-in functions that reach outside or that answer differently another time.
// It reads no files, no environment and no network.
package bundle
