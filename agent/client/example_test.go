package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// A producer that must not lose readings.
func ExampleClient() {
	var c client.Client // Finds the agent of this machine.
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := c.Produce(ctx, "readings", client.ProduceItem{Payload: []byte(`{"celsius":21.4}`)})
	if err != nil {
		log.Print(err) // Not on flash, or nobody knows: produce it again.
	}
}

// A program that handles readings until it is stopped.
func ExampleWorker() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	w := client.Worker{
		Queue:       "readings",
		Concurrency: 4,
		Handler: func(ctx context.Context, item *client.Item) error {
			var reading struct{ Celsius float64 }
			if err := json.Unmarshal(item.Payload, &reading); err != nil {
				return client.Dead(err) // It will not get better.
			}
			fmt.Println(reading.Celsius)
			return nil
		},
		OnError: func(item *client.Item, err error) { log.Print(err) },
	}
	if err := w.Run(ctx); err != nil {
		log.Print(err)
	}
}
