#!/usr/bin/env node
/*
 * node: an echo server on Node's net (Node 18 or newer), as its manual writes one:
 * socket.pipe(socket), which is also what gives it backpressure.
 *
 * All of it runs in one thread; Node's other threads (V8's, libuv's pool) have nothing to
 * do here but collect garbage. allowHalfOpen: after the peer's FIN what is owed is sent
 * first. No timeouts. Node raises its limit of descriptors by itself; when they are used up
 * libuv closes those who come. It sets TCP_NODELAY on each connection, a system call more
 * for each than where the listener has it.
 */
'use strict';

const net = require('net');

function usage(what, why) {
	process.stderr.write(`node: ${what}: ${why}\nusage: node echo://HOST:PORT\n`);
	process.exit(2);
}

function parse(args) {
	if (args.length === 0)
		usage('LISTENER', 'missing');
	if (args.length > 1 || args[0].startsWith('-'))
		usage(args[0], 'no such option: there is one thread, and one LISTENER');
	const found = /^echo:\/\/(?:\[([^\]]+)\]|([^:/@]*)):(\d{1,5})$/.exec(args[0]);
	if (!found || Number(found[3]) > 65535)
		usage(args[0], 'a peer listens on echo://HOST:PORT only');
	return { host: found[1] || found[2] || undefined, port: Number(found[3]) };
}

const listener = process.argv[2];
const { host, port } = parse(process.argv.slice(2));

const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
	socket.on('error', () => socket.destroy());
	socket.pipe(socket);
});

server.on('error', (error) => {
	process.stderr.write(`listen ${listener}: ${error.message}\n`);
	process.exit(1);
});

server.listen({ host, port, backlog: 4096 }, () => {
	const { address, family, port } = server.address();
	const text = family === 'IPv6' ? `[${address}]` : address;
	process.stderr.write(`msg=ready listeners="echo://${text}:${port}"\n`);
});
