// Command pstest serves Google's in-memory fake of Cloud Pub/Sub on a loopback address, for the local stack and tests.
//
// It prints one line, "pstest ready HOST:PORT", once it accepts connections, and leaves on SIGTERM or SIGINT.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "HOST:PORT to listen on; HOST is a loopback address")
	flag.Parse()
	host, _, err := net.SplitHostPort(*address)
	if err != nil {
		log.Fatalf("pstest: %v", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		log.Fatalf("pstest: %s is no loopback address; the fake asks for no credentials", host)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	server := pstest.NewServerWithAddress(*address)
	fmt.Printf("pstest ready %s\n", server.Addr)
	<-stop
	// Not Close: it waits for open streaming pulls, and all state is in memory.
}
