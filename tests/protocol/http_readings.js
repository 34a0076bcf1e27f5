// Reads each line of a file, a request of the corpus in hexadecimal, with Node's parser.
// Writes a line for each: 1 if it refused a part of it, else 0; and, in hexadecimal, the complete
// requests that it read, as in tests/protocol/http_corpus.h.
'use strict';
const fs = require('fs'), http = require('http'), net = require('net');

let reads, refused;

function path(target) {
	const absolute = /^https?:\/\/[^/?]*([^?]*)/i.exec(target);

	return absolute ? absolute[1] || '/' : target.split('?')[0];
}

function read(request, keep, body) {
	const line = `${request.method} ${path(request.url)} ${keep ? 'keep' : 'close'}`;

	reads.push(Buffer.from(body.length ? line + ' ' : line, 'latin1'), body, Buffer.from('\n'));
}

const server = http.createServer((request, response) => {
	const parts = [];

	request.on('data', part => parts.push(part));
	request.on('end', () => {
		read(request, response.shouldKeepAlive, Buffer.concat(parts));
		response.end('ok');
	});
});
server.httpAllowHalfOpen = true;
server.on('connect', (request, socket) => {
	read(request, true, Buffer.alloc(0));
	socket.end();
});
server.on('clientError', (error, socket) => {
	refused = true;
	socket.destroy();
});

function ask(bytes) {
	return new Promise(done => {
		const client = net.connect(server.address().port, '127.0.0.1', () => client.end(bytes));
		let answers = '';

		client.setEncoding('latin1');
		client.on('data', part => answers += part);
		client.on('error', () => {});
		client.on('close', () => done(answers));
	});
}

server.listen(0, '127.0.0.1', async () => {
	for (const line of fs.readFileSync(process.argv[2], 'latin1').trim().split('\n')) {
		reads = [];
		refused = false;
		const answers = await ask(Buffer.from(line, 'hex'));
		if (/^HTTP\/1\.1 [45]/m.test(answers))
			refused = true;
		console.log(`${refused ? 1 : 0} ${Buffer.concat(reads).toString('hex')}`);
	}
	server.close();
});
