/** JSON that says the same in ASCII alone: nothing in it is invisible, or turns what stands around it. */
export function escapedJson(text: string): string {
  return text.replace(
    /[^\x20-\x7e\n\t]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
