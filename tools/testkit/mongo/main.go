// A MongoDB-protocol server for tests: FerretDB embedded, its SQLite files in one folder.
//
// Usage: mongo PORT FOLDER. Listens on 127.0.0.1:PORT until a TERM or INT, or until its standard
// input ends, so that it does not outlive a test process that was killed.
package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: mongo PORT FOLDER")
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: net.JoinHostPort("127.0.0.1", os.Args[1])},
		Handler:   "sqlite",
		SQLiteURL: sqliteURL(os.Args[2]),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// sqliteURL is the URI of an existing folder; FerretDB wants the slash at its end.
func sqliteURL(folder string) string {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		log.Fatal(err)
	}
	return (&url.URL{Scheme: "file", Path: absolute + "/"}).String()
}
