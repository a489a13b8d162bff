package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// folder is a directory that files are put into. Its names have slashes and never lead out of it.
type folder interface {
	open(name string, flag int) (diskFile, error)
	stat(name string) (os.FileInfo, error) // of a link, not of what it leads to
	rename(from, to string) error
	remove(name string) error
	list() ([]string, error) // the names in it
	syncDir(name string) error
}

// rootFolder is the real one.
type rootFolder struct{ root *os.Root }

func (f rootFolder) open(name string, flag int) (diskFile, error) {
	if info, err := f.root.Lstat(name); err == nil && !info.Mode().IsRegular() { // the root keeps links from leading out, not from leading on
		return nil, fmt.Errorf("%s is in the way: it is not a regular file", name)
	}
	file, err := f.root.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, err // not file: a nil *os.File is no nil diskFile
	}
	return file, nil
}
func (f rootFolder) stat(name string) (os.FileInfo, error) { return f.root.Lstat(name) }
func (f rootFolder) rename(from, to string) error {
	return patiently(func() error { return f.root.Rename(from, to) }, isInUse)
}
func (f rootFolder) remove(name string) error { return f.root.Remove(name) }
func (f rootFolder) list() ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (f rootFolder) syncDir(name string) error {
	return syncDir(filepath.Join(f.root.Name(), filepath.FromSlash(name)))
}

// partSuffix marks a file that is not complete.
const partSuffix = ".part"

// output writes one file of a folder, of which an interrupted run may have left something: the whole file, or a part of it under
// the name with partSuffix. What is there is compared with what is written and stays as far as it agrees; only the rest is
// written, under the name with partSuffix, until publish.
type output struct {
	in    folder
	name  string
	at    int64 // bytes so far
	kept  int64 // of them, those that were there
	known diskFile
	size  int64    // of known
	whole bool     // known has the final name
	file  diskFile // that is written to; nil while known agrees
	read  []byte
}

func openOutput(in folder, name string) (*output, error) {
	o := &output{in: in, name: name}
	for _, candidate := range []string{name, name + partSuffix} {
		info, err := in.stat(candidate)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is in the way: it is not a regular file", candidate)
		}
		o.whole, o.size = candidate == name, info.Size()
		flag := os.O_RDWR
		if o.whole {
			flag = os.O_RDONLY
		}
		o.known, err = in.open(candidate, flag)
		return o, err
	}
	return o, nil
}

// Write compares with what is there, and writes from the first byte on that differs.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	if o.known != nil {
		same := o.agree(p)
		o.at, o.kept, p = o.at+int64(same), o.kept+int64(same), p[same:]
		if len(p) == 0 {
			return n, nil
		}
	}
	if err := o.begin(); err != nil {
		return n - len(p), err
	}
	written, err := o.file.WriteAt(p, o.at)
	o.at += int64(written)
	return n - len(p) + written, err
}

// agree returns how many bytes of p are there already. What cannot be read agrees with nothing.
func (o *output) agree(p []byte) int {
	n := int(min(int64(len(p)), max(0, o.size-o.at)))
	if cap(o.read) < n {
		o.read = make([]byte, n)
	}
	there := o.read[:n]
	if readFull(o.known, there, o.at) != nil {
		return 0
	}
	if bytes.Equal(there, p[:n]) {
		return n
	}
	same := 0
	for there[same] == p[same] {
		same++
	}
	return same
}

// begin opens the file to write to, with what has agreed so far in it.
func (o *output) begin() (err error) {
	if o.file != nil {
		return nil
	}
	if o.known != nil && !o.whole {
		o.file, o.known = o.known, nil
		if o.size > o.at {
			return o.file.Truncate(o.at)
		}
		return nil
	}
	if o.file, err = o.in.open(o.name+partSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC); err != nil {
		o.file = nil
		return err
	}
	if o.known == nil {
		return nil
	}
	o.kept = 0
	n, err := io.Copy(io.NewOffsetWriter(o.file, 0), io.NewSectionReader(o.known, 0, o.at))
	if err == nil && n != o.at {
		err = io.ErrUnexpectedEOF
	}
	err = errors.Join(err, o.known.Close())
	o.known = nil
	return err
}

// settle makes what was written durable, still under the name with partSuffix.
func (o *output) settle() error {
	if o.known != nil && o.whole && o.size == o.at {
		known := o.known
		o.known = nil
		return known.Close()
	}
	if err := o.begin(); err != nil {
		return err
	}
	file := o.file
	if err := file.Sync(); err != nil {
		return err
	}
	o.file = nil
	o.whole = false
	return file.Close()
}

// publish gives a settled file its name.
func (o *output) publish() error {
	if o.whole {
		return nil
	}
	if err := o.in.rename(o.name+partSuffix, o.name); err != nil {
		return err
	}
	return o.in.syncDir(path.Dir(o.name))
}

// abandon closes what is open; what was written stays for the next run.
func (o *output) abandon() {
	for _, f := range []diskFile{o.known, o.file} {
		if f != nil {
			_ = f.Close() // the error that led here counts
		}
	}
	o.known, o.file = nil, nil
}

// settleWhole writes a small file in one go, and leaves it to be published.
func settleWhole(in folder, name string, data []byte) (*output, error) {
	o, err := openOutput(in, name)
	if err != nil {
		return nil, err
	}
	defer o.abandon()
	if _, err := o.Write(data); err != nil {
		return nil, err
	}
	return o, o.settle()
}

// interruptible ends reading when the context ends.
type interruptible struct {
	ctx context.Context // of the call whose reader it is
	r   io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// fullDisk says of a full disk how much is needed, in bytes, and what to do.
func fullDisk(err error, needed, there int64) error {
	if err == nil || !isFull(err) {
		return err
	}
	const mb = 1_000_000
	return fmt.Errorf("%w: %d MB are needed, %d MB of them are there; free space and run it again to go on", err, (needed+mb-1)/mb, there/mb)
}
