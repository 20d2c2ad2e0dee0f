package manifest

import (
	"bytes"
	"context"
	"iter"
	"runtime"

	"golang.org/x/sync/semaphore"

	"github.com/sourceward/sourceward/policies"
)

// ahead reads files ahead of the one that is added, and several batches of documents at once. All come in order: a
// file, and then its batches.
type ahead struct {
	m       *Manifests
	version policies.Version
	files   chan fileAhead
	batches chan *batch
	// window bounds the bytes of the batches that were begun and not taken, since what is read of them takes many times as
	// much memory. size is its size. A batch that is larger is read alone.
	window *semaphore.Weighted
	size   int64
}

// fileAhead is a file that was read.
type fileAhead struct {
	data []byte
	err  error
	// patchOf is the kustomization that lists the file as a patch, and not as a resource; empty if there is none.
	patchOf string
	// isPart is true if the documents are no complete objects, but patches or kustomizations.
	isPart bool
	// chunks are the documents of the file. failed is set if it cannot be split into them.
	chunks []chunk
	failed *Error
}

// batch is a number of documents that are read one after another. They are valid once done is closed.
type batch struct {
	documents []documentAhead
	done      chan struct{}
	share     int64 // of the window
}

// documentAhead is what was read of one chunk.
type documentAhead struct {
	chunk    chunk
	document *Document
	err      *Error
	// judged is the object of the document, if it can be read without those before it.
	judged *judged
}

const (
	// batchSize is how many bytes of documents are a batch. So little work is not worth a goroutine for each of them.
	batchSize = 16 << 10
	// batchesOfEach is how many batches are read ahead for each processor.
	batchesOfEach = 4
)

// readAhead begins to read files. The caller must take all of them, and all of their documents.
func (m *Manifests) readAhead(files *finder, options Options) *ahead {
	batches := batchesOfEach * runtime.GOMAXPROCS(0)
	size := int64(batches * batchSize)
	a := &ahead{m, options.Version, make(chan fileAhead), make(chan *batch, batches), semaphore.NewWeighted(size), size}
	go func() {
		for _, found := range files.found {
			var file fileAhead
			if file.data, file.err = found.read(options.Stdin, options.Texts); file.err == nil {
				file.chunks, file.failed = chunksOf(found.name, file.data)
			}
			if len(found.kustomizations) == 0 { // a resource is complete
				file.patchOf = files.patchOf[found.real]
			}
			file.isPart = file.patchOf != "" || found.isKustomization()
			a.files <- file
			for begun := 0; begun < len(file.chunks); {
				begun += a.begin(file, begun)
			}
		}
	}()
	return a
}

// begin begins to read the next batch of a file, of which some chunks were begun before. It returns how many it adds.
func (a *ahead) begin(file fileAhead, begun int) (n int) {
	chunks := file.chunks[begun:]
	size := 0
	for n < len(chunks) && (n == 0 || size+len(chunks[n].text) <= batchSize) {
		size += len(chunks[n].text)
		n++
	}
	b := &batch{make([]documentAhead, n), make(chan struct{}), min(int64(size), a.size)}
	_ = a.window.Acquire(context.Background(), b.share) // never an error: this context has no end
	go func() {
		defer close(b.done)
		for i, c := range chunks[:n] {
			b.documents[i].chunk = c
			if !c.mayHaveAliases() {
				a.read(file, &b.documents[i], nil)
			}
		}
	}()
	a.batches <- b
	return n
}

// mayHaveAliases reports whether there may be aliases in the chunk. Whether those of one document have room depends on
// the documents before it.
func (c chunk) mayHaveAliases() bool {
	return bytes.IndexByte(c.text, '&') >= 0 && bytes.IndexByte(c.text, '*') >= 0
}

// read reads a document of a file. room is that of chunk.document; it may be nil if the document has no aliases.
func (a *ahead) read(file fileAhead, d *documentAhead, room *int) {
	if file.isPart {
		d.document, d.err = d.chunk.document(room, nil)
		return
	}
	d.document, d.err = d.chunk.document(room, a.m.isUnread)
	if d.document == nil {
		return
	}
	of := definition{content: d.document.Content}
	_, needsNamespace := of.namespace()
	if policies.Judged(of.apiVersion(), of.kind()) && of.content["items"] == nil && !needsNamespace &&
		!holdsPlaceholder(of.content) {
		d.judged = readJudged(of.content, a.version)
	}
}

// documentsOf returns the documents of the file that was taken last, with their indices.
func (a *ahead) documentsOf(file fileAhead) iter.Seq2[int, *documentAhead] {
	return func(yield func(int, *documentAhead) bool) {
		room := roomForAliases(len(file.data)) // for all documents together
		for i := 0; i < len(file.chunks); {
			b := <-a.batches
			<-b.done
			for _, d := range b.documents {
				if d.chunk.mayHaveAliases() {
					a.read(file, &d, &room)
				}
				if !yield(i, &d) {
					return
				}
				i++
			}
			a.window.Release(b.share)
		}
	}
}
