// Command gcs serves fake-gcs-server, a fake of Cloud Storage's API, on a loopback port, for the local stack and tests.
//
// It leaves on SIGTERM or SIGINT; all state is in memory.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	port := flag.Uint("port", 0, "port of 127.0.0.1 to listen on")
	flag.Parse()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	public := fmt.Sprintf("127.0.0.1:%d", *port)
	options := fakestorage.Options{Scheme: "http", Host: "127.0.0.1", Port: uint16(*port), PublicHost: public}
	server, err := fakestorage.NewServerWithOptions(options)
	if err != nil {
		log.Fatalf("gcs: %v", err)
	}
	fmt.Printf("gcs ready %s\n", server.URL())
	<-stop
}
