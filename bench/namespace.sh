# shellcheck shell=sh
# shellcheck disable=SC2154  # lib.sh sets what all share
# bench/namespace.sh: what very many connections need: memory, workers, and a network namespace of
# their own, so that port range, backlog and hash tables may be set there without a trace in the
# machine's own network. lib.sh sources it.
#
#	workers=$(workers_for 1000000)
#	[ -n "$WEIR_NAMESPACE" ] || check_machine 1000000 'bench/million 0.5'
#	namespace_enter 1000000 "$@"      begins the script again in there; goes on if it is there
#
# In the namespace $WEIR_NAMESPACE is "inner".

# Of both ends of a connection, with what weir and weirload have of it.
bytes_each=10500

# A worker that is full makes all others wait, and some workers get more than their share: if the
# listener is on every address, the kernel chooses by a hash of source address and port alone, so
# that all connections of one port go to one worker, whatever their destinations. Of two million
# connections each port has 62; then the number that a worker gets has a standard deviation of 6 %.
# This leaves room for more than four of these.
workers_for() {
	awk "BEGIN { n = $1 / ($(descriptors_max) * 0.78); print int(n) + (n > int(n)) }"
}

workers_check() {
	[ "$2" -le 256 ] || die "$1 connections need $2 workers and weir has at most 256: raise the hard limit of descriptors (now $(descriptors_max))"
}

# Whether there is memory for so many connections.
memory_is_there() {
	available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
	wanted=$(($1 * bytes_each / 1024))
	[ "$available" -ge "$wanted" ]
}

# For how many connections there is memory.
memory_connections() {
	awk -v each="$bytes_each" '/^MemAvailable:/ { printf "%.0f\n", $2 * 1024 / each }' /proc/meminfo
}

# The kernel gives back the memory of ended connections a little later.
await_memory() {
	patience=$(($(now_ms) + 20000))
	until memory_is_there "$1" || [ "$(now_ms)" -gt "$patience" ]; do
		sleep 0.2
	done
}

# check_machine CONNECTIONS TRY: what has to be true before a namespace is made; TRY is what to do
# instead if there is not enough memory.
check_machine() {
	need unshare util-linux
	need ip iproute2
	[ "$(id -u)" = 0 ] || die "needs root: it makes a network namespace, where it sets port range and backlog"
	unshare -n true 2>/dev/null || die "this machine does not allow a network namespace (unshare -n)"
	memory_is_there "$1" || die "$1 connections need about $((wanted / 1024)) MiB (both ends, $bytes_each bytes each), and $((available / 1024)) MiB are free: try $2"
}

# The machine has one hash table of connections, made for some hundred thousand, unless a namespace
# asks for one of its own (Linux 6.1). The next namespace's table has a place for each end of each
# connection.
namespace_wide_tables() {
	[ ! -w /proc/sys/net/ipv4/tcp_child_ehash_entries ] ||
		echo $(($1 * 2 < 16777216 ? $1 * 2 : 16777216)) >/proc/sys/net/ipv4/tcp_child_ehash_entries ||
		die "cannot set tcp_child_ehash_entries"
}

namespace_set_up() {
	ip link set lo up || die "cannot bring up the namespace's loopback"
	echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range || die "cannot set the port range"
	echo 65535 >/proc/sys/net/core/somaxconn || die "cannot set somaxconn"
	echo 65535 >/proc/sys/net/ipv4/tcp_max_syn_backlog || die "cannot set tcp_max_syn_backlog"
}

# namespace_enter CONNECTIONS ARGUMENT...: the script runs with these arguments in a namespace that
# was made in another one, since it is that one which decides how large its tables are.
namespace_enter() {
	entered=$1
	shift
	case $WEIR_NAMESPACE in
	'') WEIR_NAMESPACE=outer exec unshare -n sh "$0" "$@" ;;
	outer)
		namespace_wide_tables "$entered"
		WEIR_NAMESPACE=inner exec unshare -n sh "$0" "$@"
		;;
	esac
	namespace_wide_tables "$entered"
	namespace_set_up
}

# Prints until it is killed: seconds, TCP sockets of the namespace, available MiB.
watch() {
	begin=$(now_ms)
	while :; do
		awk -v ms=$(($(now_ms) - begin)) '
			/^TCP:/ { n = $3 }
			/^MemAvailable:/ { free = $2 / 1024 }
			END { printf "%.1f %d %.0f\n", ms / 1000, n, free }' /proc/net/sockstat /proc/meminfo
		sleep 0.25
	done
}
