package reliability_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// recorder keeps what a server does to the files and folders below a folder, in order, so that what a disk has of it after a
// power cut can be told.
type recorder struct {
	root string

	mu     sync.Mutex
	nodes  map[uint64]int // the file or folder that has an inode now
	base   []node         // what was there in the beginning; later ones have higher numbers
	last   int
	events []event
	err    error // a call that the recorder does not know, or could not read
}

// node is a file with its content, or a folder with its entries.
type node struct {
	folder  bool
	content []byte
	entries map[string]int
}

// event is one change, or a sync.
type event struct {
	kind     string // write, truncate, sync; name, unname and move are of entries
	node     int
	isFolder bool // of what gets its first name

	offset int64 // of a write; the length of a truncation
	data   []byte

	folder, from   int // where the entry is, and was
	name, fromName string
}

// newRecorder takes what is below the folder as safe on disk.
func newRecorder(t testing.TB, folder string) *recorder {
	t.Helper()
	r := &recorder{root: folder, nodes: map[uint64]int{}}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n := node{folder: entry.IsDir(), entries: map[string]int{}}
		if !n.folder {
			if n.content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		r.base = append(r.base, n)
		if id := r.id(path, false); id != len(r.base)-1 {
			return fmt.Errorf("%s is there twice", path)
		} else if path != folder {
			r.base[r.id(filepath.Dir(path), false)].entries[filepath.Base(path)] = id
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// id gives the number of what is at the path, -1 for nothing. What was not seen before gets its name in an event.
func (r *recorder) id(path string, isNew bool) int {
	info, err := os.Lstat(path)
	if err != nil {
		return -1
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	id, known := r.nodes[inode]
	if !known {
		id = r.last
		r.last++
		r.nodes[inode] = id
		if isNew {
			r.events = append(r.events, event{kind: "name", node: id, isFolder: info.IsDir(), folder: r.id(filepath.Dir(path), true), name: filepath.Base(path)})
		}
	}
	return id
}

// forget is called before an inode may become that of another file.
func (r *recorder) forget(path string) {
	if info, err := os.Lstat(path); err == nil {
		delete(r.nodes, info.Sys().(*syscall.Stat_t).Ino)
	}
}

// note tells what a call, which has not begun, is going to change. The file or folder that it changes is at the path. The error
// means nothing when the call was given up meanwhile: a thread that is killed has no memory to read.
func (r *recorder) note(asked seccompNotification, path string) ([]event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path = filepath.Join(r.root, path)
	arguments, pid := asked.data.arguments, asked.pid
	switch asked.data.number {
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		data, err := readMemory(pid, arguments[1], int(arguments[2]))
		offset := int64(arguments[3])
		if err == nil && asked.data.number == unix.SYS_WRITE {
			offset, err = position(pid, int32(arguments[0]))
		}
		return []event{{kind: "write", node: r.id(path, true), offset: offset, data: data}}, err
	case unix.SYS_FTRUNCATE:
		return []event{{kind: "truncate", node: r.id(path, true), offset: int64(arguments[1])}}, nil
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		id := r.id(path, true)
		entries, _ := os.ReadDir(path) // a file has none
		for _, entry := range entries {
			r.id(filepath.Join(path, entry.Name()), true)
		}
		return []event{{kind: "sync", node: id}}, nil
	case unix.SYS_MKDIRAT: // a folder is seen when something is in it, or the one above it is synced
	case unix.SYS_UNLINKAT:
		name, err := readText(pid, arguments[1])
		if err != nil {
			return nil, err
		}
		gone := filepath.Join(path, name)
		if info, err := os.Lstat(gone); err != nil || info.IsDir() != (arguments[2]&unix.AT_REMOVEDIR != 0) {
			return nil, nil // it fails
		}
		changes := []event{{kind: "unname", node: r.id(gone, true), folder: r.id(path, true), name: name}}
		r.forget(gone)
		return changes, nil
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		before, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(arguments[0])))
		old, oldErr := readText(pid, arguments[1])
		name, nameErr := readText(pid, arguments[3])
		if err := errors.Join(err, oldErr, nameErr); err != nil {
			return nil, err
		}
		if moved := r.id(filepath.Join(before, old), true); moved >= 0 {
			r.forget(filepath.Join(path, name))
			return []event{{kind: "move", node: moved, folder: r.id(path, true), name: name, from: r.id(before, true), fromName: old}}, nil
		}
	default:
		return nil, fmt.Errorf("%s of %s is not recorded", changing[asked.data.number].name, path)
	}
	return nil, nil
}

// add keeps what was noted of a call that the server makes.
func (r *recorder) add(changes []event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, changes...)
	if r.err == nil {
		r.err = err
	}
}

// now is how many events there were.
func (r *recorder) now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

func readMemory(pid uint32, address uint64, n int) ([]byte, error) {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	data := make([]byte, n)
	n, err = memory.ReadAt(data, int64(address))
	return data[:n], err
}

// readText reads what a zero byte ends.
func readText(pid uint32, address uint64) (string, error) {
	data, err := readMemory(pid, address, unix.PathMax)
	if text, _, found := bytes.Cut(data, []byte{0}); found {
		return string(text), nil // what comes after it may not be readable
	}
	return "", fmt.Errorf("no text at %x: %w", address, err)
}

// position is where in a file the next write goes.
func position(pid uint32, fd int32) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(first, "pos:")), 10, 64)
}

// cut writes to a folder what a disk may have after a power cut that comes after the first n events: all that was synced, and of
// everything else nothing, or what keep chooses. Of a write that is kept only the first sectors may have come so far. It gives
// how many changes were not synced, and how many of those are kept.
func (r *recorder) cut(t testing.TB, n int, folder string, keep *rand.Rand) (unsynced, kept int) {
	t.Helper()
	r.mu.Lock()
	events := r.events[:n]
	r.mu.Unlock()
	nodes := map[int]*node{}
	at := func(id int) *node {
		if nodes[id] == nil {
			nodes[id] = &node{entries: map[string]int{}}
			if id < len(r.base) {
				*nodes[id] = node{folder: r.base[id].folder, content: bytes.Clone(r.base[id].content), entries: maps.Clone(r.base[id].entries)}
			}
		}
		return nodes[id]
	}
	safe := synced(events)
	for i, e := range events {
		data := e.data
		if e.kind == "name" {
			at(e.node).folder = e.isFolder
		}
		if !safe[i] && e.kind != "sync" {
			unsynced++
			if keep == nil || keep.IntN(2) == 0 {
				continue
			}
			const sector = 512
			data = data[:min(len(data), sector*keep.IntN(len(data)/sector+2))]
			kept++
		}
		switch e.kind {
		case "write":
			file := at(e.node)
			if missing := int(e.offset) + len(data) - len(file.content); missing > 0 {
				file.content = append(file.content, make([]byte, missing)...)
			}
			copy(file.content[e.offset:], data)
		case "truncate":
			file := at(e.node)
			file.content = append(file.content, make([]byte, max(0, int(e.offset)-len(file.content)))...)[:e.offset]
		case "name":
			at(e.folder).entries[e.name] = e.node
		case "unname":
			delete(at(e.folder).entries, e.name)
		case "move":
			delete(at(e.from).entries, e.fromName)
			at(e.folder).entries[e.name] = e.node
		}
	}
	var write func(id int, path string) error
	write = func(id int, path string) error {
		n := at(id)
		if !n.folder {
			return os.WriteFile(path, n.content, 0o600)
		}
		err := os.MkdirAll(path, 0o700)
		for name, entry := range n.entries {
			if err == nil && !strings.HasSuffix(name, "-shm") { // which is memory
				err = write(entry, filepath.Join(path, name))
			}
		}
		return err
	}
	if err := write(0, folder); err != nil {
		t.Fatal(err)
	}
	return unsynced, kept
}

// synced tells which events a sync has made safe. That of a folder is for its entries, and for the names of it and of those above
// it, without which no file system can keep the entries.
func synced(events []event) []bool {
	safe := make([]bool, len(events))
	waiting := map[int][]int{} // for a sync of a file or folder
	named := map[int][]int{}   // what gave a file or folder its names
	above := map[int]int{}
	folders := map[int]bool{}
	for i, e := range events {
		switch e.kind {
		case "write", "truncate":
			waiting[e.node] = append(waiting[e.node], i)
		case "sync":
			for _, made := range waiting[e.node] {
				safe[made] = true
			}
			delete(waiting, e.node)
			for id, found := e.node, folders[e.node]; found; {
				for _, made := range named[id] {
					safe[made] = true
				}
				id, found = above[id]
			}
		default:
			waiting[e.folder] = append(waiting[e.folder], i)
			folders[e.folder] = true
			if e.kind == "move" {
				waiting[e.from] = append(waiting[e.from], i)
			}
			if e.kind != "unname" {
				named[e.node] = append(named[e.node], i)
				above[e.node] = e.folder
			}
		}
	}
	return safe
}

// powerCut is a moment, and what had been acknowledged then.
type powerCut struct {
	event        int
	acknowledged map[string]bool
	files        *files
}

// TestR3_PowerCutsLoseNothing records what a server does to its disk while it is written to. Of many moments it then makes the
// disk that a power cut leaves, which has what was synced and of all else nothing or a random part, and starts a server on it.
func TestR3_PowerCutsLoseNothing(t *testing.T) {
	t.Parallel()
	r, program := random(t), confine(t)
	var sum tally
	var events, unsynced, kept int
	boots, cuts := size(1, 20), size(8, 10)
	for range boots {
		j, f, place := newJournal(t), newFiles(), t.TempDir()
		s := newServer(t, "sqlite:///"+filepath.Join(place, "greenroom.db"), "--artifacts-destination", filepath.Join(place, "artifacts"))
		s.start()
		s.stop()
		recorded := newRecorder(t, place)
		disk := s.launchWatched(program, place)
		disk.recorder = recorded
		go disk.serve()
		s.waitReady()
		l := startLoad(t, s, j, "r", writers, r, false)
		u := f.start(t, s.url, "r", r.Uint64())
		var moments []powerCut
		for range cuts {
			l.waitFor(1 + r.Int64N(5*writers))
			u.waitFor(r.Int64N(3))
			acknowledged := acknowledgedNow(t, j, "r")
			known := f.snapshot()
			moments = append(moments, powerCut{recorded.now(), acknowledged, known})
		}
		l.waitFor(writers)
		u.end()
		l.end()
		s.kill()
		<-disk.closed
		if recorded.err != nil {
			t.Fatal(recorded.err)
		}
		events += recorded.now()
		for i, moment := range moments {
			var keep *rand.Rand
			if i%2 > 0 {
				keep = r
			}
			image, err := os.MkdirTemp("", "greenroom-power-")
			if err != nil {
				t.Fatal(err)
			}
			n := min(moment.event+r.IntN(100), recorded.now())
			open, some := recorded.cut(t, n, image, keep)
			unsynced, kept = unsynced+open, kept+some
			s.args[2] = "sqlite:///" + filepath.Join(image, "greenroom.db")
			s.args[len(s.args)-1] = filepath.Join(image, "artifacts")
			s.start()
			entries := j.read("r")
			for i := range entries {
				if !moment.acknowledged[entries[i].ID] {
					entries[i].acknowledged, entries[i].number = false, ""
				}
			}
			what := fmt.Sprintf("after a cut at event %d", n)
			got := mustHold(t, "database "+what, entries, inDatabase(t, s.args[2], "r"))
			mustHold(t, "server "+what, entries, inServer(t, s.url, "r"))
			sum.acknowledged += got.acknowledged
			sum.lost += got.lost
			sum.duplicated += got.duplicated
			moment.files.attemptMore(f)
			moment.files.check(t, what, s.url, "r")
			checkFile(t, s.args[2])
			s.kill()
			if t.Failed() {
				t.Fatalf("%s; the disk is in %s", what, image)
			}
			os.RemoveAll(image)
		}
	}
	report(t, "R3", "cuts", boots*cuts, "writers", writers, "events", events, "unsynced_at_a_cut", unsynced, "of_those_kept", kept, "acknowledged", sum.acknowledged,
		"lost", sum.lost, "duplicated", sum.duplicated)
}
