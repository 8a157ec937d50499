/**
 * Whether a URI could have come from a template (RFC 6570). An expression stands for any run of characters, so that
 * matching is linear: a template is a server's text, and one built into a regular expression was a denial of service
 * elsewhere (CVE-2026-0621).
 */
export function templateMatcher(template: string): (uri: string) => boolean {
  const literals = template.split(/\{[^{}]*\}/);
  const [first = "", ...rest] = literals;
  return (uri) => {
    if (rest.length === 0) return uri === first;
    if (!uri.startsWith(first)) return false;
    let at = first.length;
    for (const literal of rest.slice(0, -1)) {
      const found = uri.indexOf(literal, at);
      if (found < 0) return false;
      at = found + literal.length;
    }
    const last = rest.at(-1) ?? "";
    return uri.length - last.length >= at && uri.endsWith(last);
  };
}
