"""A storm as a picture: set-up of every emergency call over time, one panel a server, as SVG."""

WIDTH, PANEL, LEFT, TOP, GAP = 900, 190, 70, 60, 46
LOWEST, HIGHEST = 0.1, 10_000.0  # milliseconds, drawn by their logarithms


def height_of(ms):
    from math import log10

    span = log10(HIGHEST) - log10(LOWEST)
    return PANEL * (1 - (log10(min(max(ms, LOWEST), HIGHEST)) - log10(LOWEST)) / span)


def storm(title, panels, seconds):
    """`panels`: (name, sentence, [(second, milliseconds or None)]); None is a call that failed."""
    total = TOP + len(panels) * (PANEL + GAP) + 30
    right = WIDTH - 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" font-family="sans-serif" font-size="13" role="img" aria-label="{title}">',
        "<style>svg{background:#fff;color:#1d2733}text{fill:#1d2733}.grid{stroke:#d5dae1}.call{fill:#0b63c5}.lost{stroke:#c62828;stroke-width:2}"
        "@media(prefers-color-scheme:dark){svg{background:#12171d}text{fill:#e6ebf1}.grid{stroke:#39424d}.call{fill:#6db1ff}.lost{stroke:#ff8a80}}</style>",
        f'<text x="{LEFT}" y="28" font-size="15" font-weight="bold">{title}</text>',
        f'<text x="{LEFT}" y="47">each dot an emergency call by the second it began: set-up in ms, from INVITE to 200; a cross: failed</text>',
    ]
    for place, (name, sentence, calls) in enumerate(panels):
        top = TOP + 24 + place * (PANEL + GAP)
        out.append(f'<text x="{LEFT}" y="{top - 8}"><tspan font-weight="bold">{name}</tspan>: {sentence}</text>')
        for ms in (0.1, 1, 10, 100, 1000, 10_000):
            y = top + height_of(ms)
            out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{ms:g}</text>')
        for second, ms in calls:
            x = LEFT + (right - LEFT) * min(second / seconds, 1)
            if ms is None:
                y = top + 6
                out.append(f'<path class="lost" d="M{x - 3:.1f} {y - 3}l6 6m0-6l-6 6"/>')
            else:
                out.append(f'<circle class="call" cx="{x:.1f}" cy="{top + height_of(ms):.1f}" r="2"/>')
    for second in range(0, int(seconds) + 1):
        x = LEFT + (right - LEFT) * second / seconds
        out.append(f'<text x="{x:.1f}" y="{total - 14}" text-anchor="middle" font-size="11">{second} s</text>')
    return "\n".join([*out, "</svg>\n"])
