// Package bundle holds the Rego of Sourceward: the embedded modules with their data, and the
// compiler that turns them and the modules of SourceIPPolicy objects into a [Set].
//
// The compiled modules are hermetic: Rego v1, strict, checked against the schema of the input, and without the built-in
// functions that reach outside or whose results may differ from one call to the next.
// The package reads no files, no environment and no network.
package bundle
