import type { Span } from "./secret-forms.js";

/** Where a card number may begin: not within a word, a longer number, a fraction, or an account number (IBAN). */
const begin = /(?<![0-9A-Za-z]|[0-9][.,]|[0-9]{2}[ -])[2-6][0-9]{3}/g;

/** How they are written; of two that fit, the longer one first. What follows is looked at by itself. */
const forms = [
  /[0-9]{13,19}/y,
  /[0-9]{4}(?:[ -][0-9]{4}){3}[ -][0-9]{1,3}/y,
  /[0-9]{4}(?:[ -][0-9]{4}){2}[ -][0-9]{1,4}/y,
  /[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}/y,
];
const goesOn = /[0-9A-Za-z]|[.,][0-9]|[ -][0-9]{4}(?![0-9])/y;

/** Numbers of payment cards: 13 to 19 digits, alone or in the usual groups, of a known issuer, with their check digit. */
export function cardNumbersIn(text: string): readonly Span[] {
  const found: Span[] = [];
  if (text.length < 13) return found;
  begin.lastIndex = 0;
  for (let match = begin.exec(text); match !== null; match = begin.exec(text)) {
    const end = endOfCard(text, match.index);
    if (end === 0) continue;
    found.push({ start: match.index, end });
    begin.lastIndex = end;
  }
  return found;
}

function endOfCard(text: string, start: number): number {
  for (const form of forms) {
    form.lastIndex = start;
    if (!form.test(text)) continue;
    const end = form.lastIndex;
    goesOn.lastIndex = end;
    if (goesOn.test(text)) continue;
    const digits = text.slice(start, end).replace(/[ -]/g, "");
    if (hasIssuer(digits) && hasCheckDigit(digits)) return end;
  }
  return 0;
}

/** Times in milliseconds and most counters have as many digits, and a tenth of them the check digit: not the issuer. */
function hasIssuer(digits: string): boolean {
  const head = Number(digits.slice(0, 4));
  switch (digits.length) {
    case 13:
      return digits.startsWith("4");
    case 14:
      return /^3(?:0[0-59]|[689])/.test(digits);
    case 15:
      return /^3[47]/.test(digits);
    case 16:
      return head >= 3000 || (head >= 2221 && head <= 2720);
    case 17:
    case 18:
      return digits.startsWith("62");
    default:
      return /^(?:4|5[06-9]|6)/.test(digits);
  }
}

/** The sum that Luhn described. */
function hasCheckDigit(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
