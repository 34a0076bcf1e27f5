# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154  # lib.sh sets what is about the server, and takes server_why
# bench/ready.sh: when a server is ready, and at which address it listens. lib.sh sources it.
#
# A server says both by a line on stderr that contains this (a line of weir's log does):
#
#	msg=ready listeners=echo://127.0.0.1:40123
#
# Or $ready_port is set, for servers that are given by their path: then their LISTENER names that
# port, and they are ready when somebody listens on it. That is read from /proc: a connection made to
# find out would be counted by the server.

# The listener of the first ready line, quoted or not, in a log.
ready_listener() {
	sed -n 's/.*msg=ready .*listeners="\{0,1\}\([^" ,]*\).*/\1/p' "$1" | head -n 1
}

# All listeners of that line, as words.
ready_listeners() {
	sed -n 's/.*msg=ready .*listeners=\("[^"]*"\|[^ ]*\).*/\1/p' "$1" | head -n 1 | tr -d '"' | tr ',' ' '
}

# port_accepts PORT [udp]: whether somebody listens on that port, at an address that includes
# 127.0.0.1.
port_accepts() (
	case ${2:-tcp} in
	udp) state=07 ;;
	*) state=0A ;;
	esac
	cat "/proc/net/${2:-tcp}" "/proc/net/${2:-tcp}6" 2>/dev/null |
		awk -v port="$(printf '%04X' "$1")" -v state="$state" '
			{ split($2, at, ":") }
			at[2] == port && $4 == state && at[1] ~ /^(0100007F|0+|0+FFFF00000100007F)$/ { found = 1 }
			END { exit !found }'
)

# The port that the server is told to listen on; nothing if the server chooses and names one.
ready_port_of() (
	[ -z "$ready_port" ] || case ${1%%:*} in
	*/*) server_is_weir "$1" || echo "$ready_port" ;;
	esac
)

# Whether the server that was started is ready: if so, sets $server_listener.
server_is_ready() {
	if [ -z "$server_port" ]; then
		server_listener=$(ready_listener "$server_log") server_listeners=$(ready_listeners "$server_log")
	elif port_accepts "$server_port" "$server_kind"; then
		server_listener=$server_scheme://127.0.0.1:$server_port server_listeners=$server_listener
	fi
	[ -n "$server_listener" ]
}

# If somebody listens on the port before the server is started, that is another server.
ready_port_is_taken() {
	[ -n "$server_port" ] && port_accepts "$server_port" "$server_kind" || return 1
	server_why="port $server_port is in use"
}

# The last line of a server that has ended says why; that of one that still runs does not.
unready_why() {
	if ! alive "$server_pid"; then
		tail -n 1 "$server_log" | cut -c 1-70 | grep . || echo 'ended before it was ready'
	elif [ -n "$server_port" ]; then
		echo "port $server_port did not accept within ${ready_limit:-20} s"
	elif case $server_name in */*) true ;; *) false ;; esac then
		echo "no ready line within ${ready_limit:-20} s (see --ready-port)"
	else
		echo "no ready line within ${ready_limit:-20} s"
	fi
}
