package store

import (
	"os"
	"testing"

	"golang.org/x/sys/windows"
)

func TestFullDiskIsRecognised(t *testing.T) {
	for _, errno := range []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL} {
		if err := error(&os.PathError{Op: "write", Path: "x", Err: errno}); !isFull(err) || fullDisk(err, 1, 0).Error() == err.Error() {
			t.Errorf("%v is not taken for a full disk", err)
		}
	}
}
