/** What may stand in a template: text is escaped, lists are joined, null and false are nothing. */
export type Child = string | number | Html | null | false | readonly Child[];

/**
 * Markup that was made by {@link html} and by nothing else: whatever is put into a page came through a template, which
 * escaped it, or is a string, which will be (threat U1).
 */
export class Html {
  private constructor(readonly text: string) {}

  static of(this: void, parts: TemplateStringsArray, ...children: readonly Child[]): Html {
    check(parts);
    let text = parts[0] ?? "";
    for (const [index, child] of children.entries()) text += markup(child) + (parts[index + 1] ?? "");
    return new Html(text);
  }

  /** Of a style sheet of ours, whose hash is in the policy of the page. */
  static style(this: void, sheet: string): Html {
    if (sheet.includes("</")) throw new Error("a style sheet that ends its element");
    return new Html(`<style>${sheet}</style>`);
  }
}

/** A template that escapes whatever stands in it; attributes in double quotes. */
export const html = Html.of;

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function markup(child: Child): string {
  if (child instanceof Html) return child.text;
  if (child === null || child === false) return "";
  if (typeof child === "object") return child.map(markup).join("");
  return String(child).replace(/[&<>"']/g, (character) => entities[character] ?? "");
}

const checked = new WeakSet<TemplateStringsArray>();

/**
 * Escaping helps between elements and inside of double quotes. A template with a place for data anywhere else never makes
 * a page.
 */
function check(parts: TemplateStringsArray): void {
  if (checked.has(parts)) return;
  let before = "";
  for (const part of parts.slice(0, -1)) {
    before += part;
    const tag = before.slice(before.lastIndexOf("<"));
    const inside = tag.startsWith("<") && !tag.includes(">");
    const quoted = /="[^"]*$/.test(tag) && tag.split('"').length % 2 === 0;
    if ((inside && !quoted) || /<(?:script|style|!--)/i.test(before))
      throw new Error(`nothing can stand safely behind ${tag.slice(0, 40)}`);
  }
  checked.add(parts);
}
