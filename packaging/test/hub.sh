# Sourced after boot.sh: a NATS server at hub.example.com for the container, with the configuration and the stream of
# uplink/README.md, and a certificate that the container believes.
# shellcheck shell=bash

# of_readme KIND prints the first block of a kind in uplink/README.md.
of_readme() { awk -v fence='```'"$1" '$0 == "```" { on = 0 } on { print } $0 == fence && !done { on = 1; done = 1 }' "$top/uplink/README.md"; }

# hub_start builds the server of the version in go.mod, starts it, and creates the stream. Its device is "dev".
hub_start() {
  local dir=$scratch/hub
  mkdir -p "$dir/store"
  (cd "$top" && GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -o "$dir/nats-server" github.com/nats-io/nats-server/v2)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=hub.example.com \
    -addext subjectAltName=DNS:hub.example.com -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$scratch/openssl.log" ||
    { cat "$scratch/openssl.log"; fail "a certificate for the hub"; }
  cp "$dir/cert.pem" "$root/usr/local/share/ca-certificates/hub.crt"
  inside update-ca-certificates >/dev/null 2>&1
  echo '127.0.0.1 hub.example.com' >>"$root/etc/hosts"
  of_readme conf | sed -e "s,\$STORE_DIR,$dir/store," -e 's/password: secret/password: s3cret/' >"$dir/hub.conf"
  printf '%s\n' 'listen: "127.0.0.1:4222"' 'allow_non_tls: true' "tls { cert_file: \"$dir/cert.pem\", key_file: \"$dir/key.pem\" }" \
    >>"$dir/hub.conf"
  of_readme json >"$dir/stream.json"
  hub=
  at_end hub_down
  hub_up
  nsenter -t "$leader" -n python3 - "$dir/stream.json" <<'END' || fail "the stream of the hub"
import json, socket, sys
stream = json.dumps(json.load(open(sys.argv[1]))).encode()
c = socket.create_connection(("127.0.0.1", 4222), timeout=20)
f = c.makefile("rb")
f.readline()
c.sendall(b'CONNECT {"verbose":false,"user":"admin","pass":"admin","headers":true}\r\nSUB reply 1\r\n'
          b"PUB $JS.API.STREAM.CREATE.QUERATOR reply %d\r\n%s\r\nPING\r\n" % (len(stream), stream))
for line in f:
    if line.startswith(b"MSG"):
        sys.exit(b'"error"' in f.readline())
    if line.startswith(b"-ERR"):
        sys.exit(line.decode())
END
  passed "a NATS server for the uplink"
}

hub_up() {
  nsenter -t "$leader" -n "$scratch/hub/nats-server" -c "$scratch/hub/hub.conf" >>"$scratch/hub/log" 2>&1 &
  hub=$!
  until_true 30 "the start of the NATS server" nsenter -t "$leader" -n python3 -c \
    'import socket; socket.create_connection(("127.0.0.1", 4222), timeout=5)'
}

hub_down() {
  if [[ -n ${hub:-} ]]; then
    kill -KILL "$hub" 2>/dev/null || true
    wait "$hub" 2>/dev/null || true
  fi
  hub=
  return 0
}
