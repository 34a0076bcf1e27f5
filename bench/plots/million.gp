# Connections and memory over time. data: seconds, TCP sockets (two a connection), MiB available.
set terminal svg size 760,380 font "sans,12" background rgb "white"
set output svg
set border 11
set tics nomirror
set y2tics
set grid ytics lc rgb "#dddddd"
set format y "%.1s%c"
set xlabel "seconds"
set ylabel "connections"
set y2label "GiB of memory available"
set yrange [0:*]
set y2range [0:*]
set key outside below
plot data using 1:($2 / 2) with lines lw 2 lc rgb "#e15759" title "connections", \
	data using 1:($3 / 1024) axes x1y2 with lines lw 2 lc rgb "#4e79a7" title "memory available"
