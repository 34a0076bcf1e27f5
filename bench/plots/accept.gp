# CPU us a connection in churn, and how evenly work and held connections are spread.
# data: "name" us least greatest spread-of-CPU spread-of-held, "-" where there is none.
set terminal svg size 960,380 font "sans,12" background rgb "white"
set output svg
set datafile missing "-"
set border 3
set tics nomirror
set grid xtics lc rgb "#dddddd"
set style fill solid 0.8 noborder
set xrange [0:*]
set yrange [*:*] reverse
set multiplot layout 1,2
set title sprintf("CPU us a connection in churn, %d workers", workers)
plot data using 2:0:(0):2:($0 - 0.35):($0 + 0.35):yticlabels(1) with boxxyerror lc rgb "#4e79a7" notitle, \
	data using 2:0:3:4 with xerrorbars lc rgb "#333333" pt -1 notitle
set title "busiest worker over mean"
set key outside below
plot data using 5:0:(0):5:($0 - 0.36):($0):yticlabels(1) with boxxyerror lc rgb "#f28e2b" title "CPU time in churn", \
	data using 6:0:(0):6:($0):($0 + 0.36) with boxxyerror lc rgb "#bab0ac" title "connections held"
unset multiplot
