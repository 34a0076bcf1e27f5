/*
 * go: an echo server on Go's net package (Go 1.19 or newer): a goroutine for each connection,
 * which reads into 32 KiB of its own and writes what it read. Writing blocks the goroutine, and
 * that is the backpressure. When the peer's FIN comes all has been written already. If the listener
 * says http it is a server on net/http that answers "ok" to everything.
 *
 * It does not use io.Copy: between two TCP connections that splices through a pipe, which it holds
 * for as long as it copies. That is three descriptors a connection, so that 20,000 descriptors hold
 * 6,600 connections, and two calls of splice in place of read and write. 32 KiB is what io.Copy
 * takes if it cannot splice.
 *
 * -w N sets GOMAXPROCS, how many threads run goroutines at once (default 1, because the other
 * peers have one). The runtime has threads beside these, for its poller and the garbage collector.
 * Go sets TCP_NODELAY and keep-alive on each connection, takes somaxconn for its backlog and
 * raises its limit of descriptors, all by itself. No timeouts.
 */
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

const (
	bufferBytes      = 32 * 1024
	acceptAgainAfter = 100 * time.Millisecond
)

func serve(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, bufferBytes)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, "ok")
}

func printUsage() {
	fmt.Fprintln(os.Stderr, "usage: go [-w N] echo://HOST:PORT, or http://HOST:PORT")
}

func usage(what, why string) {
	fmt.Fprintf(os.Stderr, "go: %s: %s\n", what, why)
	printUsage()
	os.Exit(2)
}

func main() {
	workers := flag.Int("w", 1, "threads that run goroutines at once")
	flag.Usage = printUsage
	flag.Parse()
	if *workers < 1 {
		usage("-w", "at least 1")
	}
	if flag.NArg() != 1 {
		usage("LISTENER", "one, please")
	}
	protocol, address, found := strings.Cut(flag.Arg(0), "://")
	if !found || (protocol != "echo" && protocol != "http") {
		usage(flag.Arg(0), "this peer speaks echo and http only")
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		usage(flag.Arg(0), err.Error())
	}
	runtime.GOMAXPROCS(*workers)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "msg=ready listeners=\"%s://%s\"\n", protocol, listener.Addr())
	if protocol == "http" {
		fmt.Fprintln(os.Stderr, http.Serve(listener, http.HandlerFunc(answer)))
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(acceptAgainAfter)
			continue
		}
		go serve(conn)
	}
}
