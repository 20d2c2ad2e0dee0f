// Command certmanager runs the controllers of cert-manager and its CA injector, as far as Sourceward uses them: Issuers
// of kind selfSigned and CA, Certificates, and the caBundle of webhook configurations. The end-to-end tests run it. It
// is a module of its own, because the programs of cert-manager are in modules that cannot be required, and so that
// Sourceward does not depend on what they need.
package main
