/** The products as they were last read. */

import { signal } from "./signal.js";

/**
 * @typedef {{productId: string, name: string, unitPrice: number, currency: string, stock: number, reserved: number,
 *   available: number}} Product
 */

/** @type {{value: Product[]}} */
export const products = signal([]);
