package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A plotSpec is a curve for each value of a parameter of a benchmark's rows, over
// the values of another. Both axes are logarithmic.
type plotSpec struct {
	name, title string
	bench       string
	x, series   string // parameters; without series there is one curve
	where       string // a parameter that rows have: op=load
	rate        bool   // events a second, and not the time of one
	floor       bool   // with the floors' curves, dashed
}

// A curve is a line of a plot.
type curve struct {
	name   string
	color  int
	dashed bool
	points plotter.XYs
}

// plotsOf returns the plots of a group. That of latencies has no rows with a floor.
func plotsOf(g *group) []plotSpec {
	if g.name == "mixed" {
		return []plotSpec{{name: "latency", title: "Latency of a durable update, and the floor", bench: mixedBench}}
	}
	return g.plots
}

// draw returns the plot as SVG, or nil if there are not two points for any curve.
func (p plotSpec) draw(r *results) ([]byte, error) {
	fig, err := p.figure(r)
	if fig == nil || err != nil {
		return nil, err
	}
	return svg(fig)
}

func (p plotSpec) figure(r *results) (*plot.Plot, error) {
	fig := newPlot(p.title)
	var curves []curve
	if p.bench == mixedBench {
		curves = latencyCurves(r)
		fig.X.Label.Text, fig.Y.Label.Text = "percentile", "milliseconds"
		fig.X.Scale, fig.X.Tick.Marker = plot.InvertedScale{Normalizer: plot.LogScale{}}, plot.TickerFunc(shareTicks)
	} else {
		curves = p.curves(r)
		fig.X.Label.Text, fig.Y.Label.Text = p.x, "nanoseconds"
		if p.rate {
			fig.Y.Label.Text = "events/s"
		}
	}
	if !slices.ContainsFunc(curves, func(c curve) bool { return len(c.points) > 1 }) {
		return nil, nil
	}
	for _, c := range curves {
		line, points, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return nil, err
		}
		line.Color = palette[c.color%len(palette)]
		points.Color, points.Shape, points.Radius = line.Color, draw.CircleGlyph{}, vg.Points(2)
		line.Width = vg.Points(1.5)
		if c.dashed {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
			line.Width = vg.Points(1)
		}
		fig.Add(line, points)
		fig.Legend.Add(c.name, line, points)
	}
	return fig, nil
}

// palette is what people with weak colour vision can tell apart (Okabe and Ito).
var palette = []color.Color{
	color.RGBA{R: 0, G: 114, B: 178, A: 255}, color.RGBA{R: 213, G: 94, B: 0, A: 255}, color.RGBA{R: 0, G: 158, B: 115, A: 255},
	color.RGBA{R: 204, G: 121, B: 167, A: 255},
}

func newPlot(title string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	fig := plot.New()
	fig.Title.Text = title
	fig.Title.Padding = vg.Points(6)
	fig.X.Scale, fig.Y.Scale = plot.LogScale{}, plot.LogScale{}
	fig.X.Tick.Marker, fig.Y.Tick.Marker = plot.TickerFunc(decadeTicks), plot.TickerFunc(decadeTicks)
	fig.Legend.Top, fig.Legend.TextStyle.Font.Size = true, vg.Points(10)
	fig.Add(plotter.NewGrid())
	return fig
}

// svg draws a plot, with the legend in a margin to its right.
func svg(fig *plot.Plot) ([]byte, error) {
	const width, height, legend = 680, 360, 150
	canvas := vgsvg.New(vg.Points(width), vg.Points(height))
	fig.Legend.XOffs = vg.Points(legend - 10)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	fig.Draw(draw.Crop(all, vg.Points(8), vg.Points(-legend), vg.Points(6), vg.Points(-6)))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), nil
}

// curves returns the curves of the rows, in the order of the results.
func (p plotSpec) curves(r *results) []curve {
	var list []curve
	var names []string
	add := func(name string, dashed bool, x float64, s *side) {
		sum, ok := summarize(s.time())
		if !ok {
			return
		}
		if p.rate {
			sum.median = 1e9 / sum.median
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		label := name
		if dashed {
			label = strings.TrimSpace(name + " floor")
		}
		i := slices.IndexFunc(list, func(c curve) bool { return c.name == label && c.dashed == dashed })
		if i < 0 {
			i = len(list)
			list = append(list, curve{name: label, color: slices.Index(names, name), dashed: dashed})
		}
		list[i].points = append(list[i].points, plotter.XY{X: x, Y: sum.median})
	}
	for _, row := range r.rows {
		x, err := strconv.ParseFloat(row.get(p.x), 64)
		key, value, _ := strings.Cut(p.where, "=")
		if row.bench != p.bench || err != nil || row.get(key) != value {
			continue
		}
		name := row.get(p.series)
		if name == "" {
			name = "evsourcing"
		}
		if s := row.sides["ours"]; s != nil {
			add(name, false, x, s)
		}
		if s := row.sides["floor"]; s != nil && p.floor {
			add(name, true, x, s)
		}
	}
	return list
}

// latencyCurves are percentiles of updates, over the share that is slower.
func latencyCurves(r *results) (list []curve) {
	for i, row := range r.rows {
		for _, name := range []string{"update", "floor"} {
			c := curve{name: strings.TrimSpace(row.label() + " " + name), color: i, dashed: name == "floor"}
			for _, p := range percentiles {
				if s := row.sides[name]; s != nil && p.rank > 0 {
					if sum, ok := summarize(s.metrics[p.unit]); ok && sum.median > 0 {
						c.points = append(c.points, plotter.XY{X: p.rank, Y: sum.median})
					}
				}
			}
			if len(c.points) > 0 {
				list = append(list, c)
			}
		}
	}
	return list
}

// decadeTicks are at powers of ten, and where there are few of these, at 2 and 5
// times them.
func decadeTicks(low, high float64) (ticks []plot.Tick) {
	steps := []float64{1}
	if high/low < 1000 {
		steps = []float64{1, 2, 5}
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, step := range steps {
			v := step * math.Pow(10, e)
			ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
		}
	}
	return ticks
}

// shareTicks are the percentiles that shares of slower ones stand for.
func shareTicks(float64, float64) (ticks []plot.Tick) {
	for _, p := range percentiles {
		if p.rank > 0 {
			ticks = append(ticks, plot.Tick{Value: p.rank, Label: p.name})
		}
	}
	return ticks
}

func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return fmt.Sprintf("%g%s", v/unit.size, unit.name)
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
