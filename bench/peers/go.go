/*
 * go: an echo server on Go's net package (Go 1.19 or newer): a goroutine for each connection,
 * which reads into 32 KiB of its own and writes what it read. Writing blocks the goroutine,
 * and that is the backpressure. After the peer's FIN all was written already.
 *
 * Not io.Copy: between two TCP connections it splices through a pipe, which it holds for as
 * long as it copies. That is three descriptors a connection, so that 20,000 descriptors hold
 * 6,600 connections, and two calls of splice in place of read and write. 32 KiB is what
 * io.Copy takes where it cannot splice.
 *
 * -w N sets GOMAXPROCS, how many threads run goroutines at once (default 1, as the others
 * have one). The runtime has threads beside these, for its poller and the garbage collector.
 * Go sets TCP_NODELAY and keep-alive on each connection, takes somaxconn for its backlog and
 * raises its limit of descriptors, all by itself. No timeouts.
 */
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
)

const (
	scheme           = "echo://"
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

func printUsage() {
	fmt.Fprintln(os.Stderr, "usage: go [-w N] echo://HOST:PORT")
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
	if !strings.HasPrefix(flag.Arg(0), scheme) {
		usage(flag.Arg(0), "a peer speaks echo only")
	}
	address := strings.TrimPrefix(flag.Arg(0), scheme)
	if _, _, err := net.SplitHostPort(address); err != nil {
		usage(flag.Arg(0), err.Error())
	}
	runtime.GOMAXPROCS(*workers)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "msg=ready listeners=\"%s%s\"\n", scheme, listener.Addr())
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
