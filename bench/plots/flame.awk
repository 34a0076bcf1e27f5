# flame.awk: sorted "COUNT frame;frame;..." -> a flame graph as SVG. A frame is function@where;
# its colour says where. -v title=TEXT
#
# Neighbours in sorted order share their outer frames: a frame stays open from the first stack
# that has it at this depth to the last.

function escape(text) {
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	gsub(/>/, "\\&gt;", text)
	return text
}

function colour(where) {
	if (where == "kernel") return "#f2b48c"
	if (where == "reactor") return "#8fc98f"
	if (where == "protocol") return "#8fb4e8"
	if (where == "worker" || where == "master") return "#c3a5dc"
	if (where == "libc") return "#e6d98a"
	return "#cccccc"
}

# Closes all open frames at this depth and above it.
function close_from(depth,  d) {
	for (d = open_n; d >= depth; d--) {
		box_frame[boxes] = open_frame[d]; box_depth[boxes] = d
		box_from[boxes] = open_from[d]; box_to[boxes] = samples
		boxes++
	}
	open_n = depth - 1
}

function legend(x, where) {
	printf "<rect x=\"%d\" y=\"34\" width=\"12\" height=\"12\" fill=\"%s\"/>", x, colour(where)
	printf "<text x=\"%d\" y=\"44\">%s</text>\n", x + 16, where
}

function box(i,  x, w, y, name, where, room) {
	x = margin + box_from[i] * scale; w = (box_to[i] - box_from[i]) * scale
	if (w < 0.3) return
	y = height - margin - box_depth[i] * row
	name = box_frame[i]; where = box_frame[i]
	sub(/@[^@]*$/, "", name); sub(/.*@/, "", where)
	printf "<g><title>%s (%s): %.1f %%</title>", escape(name), escape(where), \
		100 * (box_to[i] - box_from[i]) / samples
	printf "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", x, y, w, row - 1, colour(where)
	room = int((w - 6) / 6.7)
	if (room >= 3) {
		if (length(name) > room) name = substr(name, 1, room - 2) ".."
		printf "<text x=\"%.1f\" y=\"%d\">%s</text>", x + 3, y + row - 5, escape(name)
	}
	print "</g>"
}

{
	count = $1
	stack = $0; sub(/^ *[0-9]+ /, "", stack)
	n = split("all@;" stack, frame, ";")
	for (same = 0; same < n && same < open_n && frame[same + 1] == open_frame[same + 1]; same++)
		;
	close_from(same + 1)
	for (d = same + 1; d <= n; d++) {
		open_frame[d] = frame[d]; open_from[d] = samples
	}
	open_n = n
	if (n > deepest) deepest = n
	samples += count
}

BEGIN { boxes = 0; samples = 0; margin = 10; row = 17; width = 1200 }

END {
	close_from(1)
	height = deepest * row + 2 * margin + 50
	scale = (width - 2 * margin) / (samples ? samples : 1)
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" ", width, height, width, height
	print "font-family=\"monospace\" font-size=\"11\">"
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height
	printf "<text x=\"%d\" y=\"22\" font-size=\"15\">%s: %d samples; point at a frame for its share</text>\n", margin, escape(title), samples
	legend(10, "kernel"); legend(110, "reactor"); legend(210, "protocol"); legend(310, "worker")
	legend(410, "libc"); legend(510, "other")
	for (i = 0; i < boxes; i++) box(i)
	print "</svg>"
}
