#!/usr/bin/env node
/*
 * node: an echo server on Node's net (Node 18 or newer), as its manual writes one:
 * socket.pipe(socket), which also gives it backpressure; or, if the listener says http, a server on
 * its http that answers "ok" to everything.
 *
 * All of it runs in one thread; Node's other threads (V8's, libuv's pool) have nothing to
 * do here but collect garbage. allowHalfOpen: after the peer's FIN what is owed is sent
 * first. No timeouts. Node raises its limit of descriptors by itself; when they are used up libuv
 * closes new connections. It sets TCP_NODELAY on each connection, which costs a system call that a
 * server saves if its listener has the option.
 */
'use strict';

const http = require('http');
const net = require('net');

function usage(what, why) {
	process.stderr.write(`node: ${what}: ${why}\nusage: node echo://HOST:PORT, or http://HOST:PORT\n`);
	process.exit(2);
}

function parse(args) {
	if (args.length === 0)
		usage('LISTENER', 'missing');
	if (args.length > 1 || args[0].startsWith('-'))
		usage(args[0], 'no such option: there is one thread, and one LISTENER');
	const found = /^(echo|http):\/\/(?:\[([^\]]+)\]|([^:/@]*)):(\d{1,5})$/.exec(args[0]);
	if (!found || Number(found[4]) > 65535)
		usage(args[0], 'this peer listens on echo:// or http://HOST:PORT only');
	return { protocol: found[1], host: found[2] || found[3] || undefined, port: Number(found[4]) };
}

const listener = process.argv[2];
const { protocol, host, port } = parse(process.argv.slice(2));

function echo(socket) {
	socket.on('error', () => socket.destroy());
	socket.pipe(socket);
}

function answer(request, response) {
	response.setHeader('Content-Type', 'text/plain');
	response.end('ok');
}

const server = protocol === 'http' ? http.createServer(answer)
	: net.createServer({ allowHalfOpen: true, noDelay: true }, echo);

server.on('error', (error) => {
	process.stderr.write(`listen ${listener}: ${error.message}\n`);
	process.exit(1);
});

server.listen({ host, port, backlog: 4096 }, () => {
	const { address, family, port } = server.address();
	const text = family === 'IPv6' ? `[${address}]` : address;
	process.stderr.write(`msg=ready listeners="${protocol}://${text}:${port}"\n`);
});
