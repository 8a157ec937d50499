import type { Span } from "./secret-forms.js";

/** One country's form. `label` and `valid` decide about what has it. */
interface Form {
  /** Global; without neighbours, which are the same for all. */
  readonly pattern: RegExp;
  /** What must stand before it, or be the name of its member, where the digits alone say too little. */
  readonly label?: RegExp;
  /** @param id without spaces and other separators, in upper case */
  readonly valid: (id: string) => boolean;
}

const alone = (pattern: string, flags = "g"): RegExp =>
  new RegExp(`(?<![0-9A-Za-z]|[0-9][.,-])(?:${pattern})(?![0-9A-Za-z]|[.,-][0-9])`, flags);

const taxLabel = /steuer[-_ ]?id|steuerliche|(?<![a-z])(?:id-?nr|tax[-_ ]?id|tin)(?![a-z])/i;
const serviceLabel = /burgerservice|(?<![a-z])(?:bsn|sofi)(?![a-z])/i;

const forms: readonly Form[] = [
  // United States, SSN: with its dashes, without the ranges that were never given out.
  {
    pattern: alone("(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}"),
    valid: (id) => id !== "078051120" && id !== "219099999",
  },
  // United Kingdom, National Insurance number: no check digit, but letters and prefixes that are never used.
  {
    pattern: alone(
      "(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]",
    ),
    valid: () => true,
  },
  // Spain, DNI and NIE: the letter at the end is the remainder of 23.
  { pattern: alone("(?:[0-9]{8}|[XYZ]-?[0-9]{7})-?[A-Z]", "gi"), valid: spanish },
  // France, NIR: a key of two digits, the remainder of 97.
  {
    pattern: alone(
      "[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
    ),
    valid: french,
  },
  // Italy, codice fiscale: a check letter; digits may be letters where two people would have had the same.
  {
    pattern: alone("[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", "gi"),
    valid: italian,
  },
  // Germany, Steuer-ID: a check digit (ISO 7064), one digit repeated; in its groups, or with its label.
  { pattern: alone("[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}"), valid: german },
  { pattern: alone("[1-9][0-9]{10}"), label: taxLabel, valid: german },
  // The Netherlands, BSN: weighted digits divisible by 11; with its points, or with its label.
  { pattern: alone("[0-9]{4}\\.[0-9]{2}\\.[0-9]{3}"), valid: dutch },
  { pattern: alone("[0-9]{9}"), label: serviceLabel, valid: dutch },
];

/** What all of them have, found in one pass: Italian digits may be letters, but for the one in their middle. */
const digits = /[0-9]|[A-EHLMPRST][LMNP-V]{2}[A-Z]/i;

/** How far before an id its label may stand, in characters. */
const LABEL = 40;

/** Numbers that a state gave to one person. @param name of the member whose value `text` is; empty without one */
export function nationalIdsIn(text: string, name: string): readonly Span[] {
  const found: Span[] = [];
  if (text.length < 9 || !digits.test(text)) return found;
  for (const { pattern, label, valid } of forms) {
    for (const { 0: match, index } of text.matchAll(pattern)) {
      if (
        label !== undefined &&
        !label.test(name) &&
        !label.test(text.slice(Math.max(0, index - LABEL), index))
      )
        continue;
      if (valid(match.replace(/[ .-]/g, "").toUpperCase()))
        found.push({ start: index, end: index + match.length });
    }
  }
  return found;
}

function spanish(id: string): boolean {
  const number = id.replace(/^[XYZ]/, (letter) => String("XYZ".indexOf(letter)));
  return "TRWAGMYFPDXBNJZSQVHLCKE"[Number(number.slice(0, -1)) % 23] === id.at(-1);
}

function french(id: string): boolean {
  // Corsica's letters stand for 19 and 18.
  const number = Number(id.slice(0, 13).replace("2A", "19").replace("2B", "18"));
  return 97 - (number % 97) === Number(id.slice(13));
}

const oddPlaces = [
  1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
];

function italian(id: string): boolean {
  let sum = 0;
  for (let i = 0; i < 15; i++) {
    const code = id.charCodeAt(i);
    const value = code < 65 ? code - 48 : code - 65;
    // The first character is in an odd place.
    sum += i % 2 === 0 ? (oddPlaces[value] ?? 0) : value;
  }
  return String.fromCharCode(65 + (sum % 26)) === id[15];
}

function german(id: string): boolean {
  const times = new Map<string, number>();
  for (const digit of id.slice(0, 10)) times.set(digit, (times.get(digit) ?? 0) + 1);
  const repeated = [...times.values()].filter((count) => count > 1);
  if (repeated.length !== 1 || (repeated[0] ?? 0) > 3) return false;
  let product = 10;
  for (const digit of id.slice(0, 10)) {
    const sum = (Number(digit) + product) % 10 || 10;
    product = (sum * 2) % 11;
  }
  return (11 - product) % 10 === Number(id[10]);
}

function dutch(id: string): boolean {
  let sum = -Number(id[8]);
  for (let i = 0; i < 8; i++) sum += Number(id[i]) * (9 - i);
  return sum % 11 === 0 && id !== "000000000";
}
