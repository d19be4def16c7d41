"""What a column of an imported file can mean, and which one its name suggests."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

CLOSE_ENOUGH = 88.0
"""Score (0 to 100) from which a name counts as a field's: one or two letters off, or words in another order."""
ATTRIBUTE = "attributes."


@dataclass(frozen=True, slots=True)
class Field:
    """A field, and names that files give it, in English and French, German and Spanish where these are common."""

    name: str
    synonyms: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class ImportKind:
    """What a file holds: the fields of its rows, which one tells the records apart, and which hold moments."""

    key: str
    fields: tuple[Field, ...]
    attributes: bool = False

    @property
    def names(self) -> list[str]:
        """Names of all fields."""
        return [field.name for field in self.fields]


def _plain(column: str) -> str:
    """Lower case, no accents, words apart: "N° Client", "customerCode" and "CUSTOMER-CODE" read alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(letter))
    words = re.sub(r"[^a-z0-9]+", " ", bare.replace("°", " ").lower()).split()
    return " ".join(word for word in words if word not in ("de", "du", "la", "le", "the", "of"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(_plain(part) for part in text.split(","))


_SALE_ID = Field("sale_id", _words(
    "sale, order id, order number, order no, order, ticket, ticket id, ticket number, receipt, receipt number, basket,"
    " basket id, transaction id, transaction, invoice, invoice number, document number, id vente, numero vente, vente,"
    " numero ticket, no ticket, n ticket, id ticket, commande, numero commande, no commande, id commande, facture,"
    " numero facture, no facture, bestellnummer, pedido"), required=True)  # fmt: skip
_CUSTOMER = _words(
    "customer, customer id, customer number, customer no, client, client id, client code, client number, household id,"
    " member id, loyalty card, card number, buyer, shopper id, code client, id client, numero client, no client,"
    " n client, carte fidelite, acheteur, kundennummer, kunde, cliente"
)
_PRODUCT = _words(
    "product, product id, product code, sku, item, item id, item code, item number, article, article code,"
    " article number, ean, gtin, barcode, variant sku, code produit, id produit, produit, code article, id article,"
    " ref, reference, ref article, reference article, reference produit, code barre, artikelnummer, producto"
)
_QUANTITY = _words(
    "qty, quantity sold, units, count, pieces, lineitem quantity, quantite, qte, nombre, nb, menge, cantidad"
)
_AMOUNT = _words(
    "line amount, line total, total, net amount, sales value, price total, montant, montant ligne, total ligne,"
    " montant ttc, total ttc, montant net, ca, betrag, importe"
)
KINDS: dict[str, ImportKind] = {
    "sales": ImportKind("sale_id", (
        _SALE_ID,
        Field("customer_code", _CUSTOMER),
        Field("sold_at", _words(
            "sale date, date, datetime, order date, created at, paid at, timestamp, transaction timestamp, sold on,"
            " purchase date, date time, date vente, date de vente, date commande, date ticket, date heure, vendu le,"
            " horodatage, date achat, datum, fecha"), required=True),
        Field("channel", _words("sales channel, source, store, shop, point of sale, canal, canal de vente, magasin")),
        Field("currency", _words("currency code, devise, monnaie, wahrung, moneda")),
        Field("product_key", _PRODUCT, required=True),
        Field("label", _words(
            "product name, item name, description, product label, lineitem name, libelle, designation, nom produit,"
            " libelle article, bezeichnung")),
        Field("quantity", _QUANTITY, required=True),
        Field("unit_price", _words(
            "price, unit cost, item price, lineitem price, price per unit, prix, prix unitaire, pu, prix unitaire ttc,"
            " pu ttc, einzelpreis, precio")),
        Field("discount", _words("rebate, discount amount, lineitem discount, remise, montant remise, rabais, rabatt")),
        Field("amount", _AMOUNT),
    )),
    "returns": ImportKind("return_id", (
        Field("return_id", _words(
            "return, return number, refund id, refund, credit note, rma, id retour, numero retour, retour, avoir,"
            " numero avoir"), required=True),
        _SALE_ID,
        Field("customer_code", _CUSTOMER),
        Field("returned_at", _words(
            "return date, date, refund date, refunded at, date retour, date de retour, date avoir, rendu le"),
            required=True),
        Field("product_key", _PRODUCT, required=True),
        Field("quantity", _QUANTITY, required=True),
        Field(
            "amount", (*_AMOUNT, *_words("refund amount, returned amount, montant rembourse, rembourse")),
            required=True),
    )),
    "customers": ImportKind("customer_code", (
        Field("customer_code", (*_CUSTOMER, "id", "code"), required=True),
        Field("first_name", _words("firstname, given name, forename, prenom, vorname, nombre")),
        Field("last_name", _words("lastname, surname, family name, nom, nom de famille, nachname, apellido")),
        Field("email", _words("e mail, mail, email address, adresse email, adresse mail, courriel, correo")),
        Field("phone", _words("phone number, mobile, mobile number, telephone, tel, portable, numero telephone")),
        Field("language", _words("lang, locale, langue, sprache, idioma")),
        Field("timezone", _words("time zone, tz, fuseau horaire")),
        Field("birth_date", _words(
            "birthdate, birthday, date of birth, dob, date naissance, date de naissance, naissance, anniversaire,"
            " geburtsdatum")),
        Field("tags", _words("labels, groups, etiquettes, groupes")),
        Field("consent_email", _words(
            "email consent, email opt in, accepts email marketing, newsletter, optin email, opt in email,"
            " consentement email")),
        Field("consent_email_at", _words(
            "email consent date, email consent at, date consentement email, date optin email")),
        Field("consent_sms", _words("sms consent, sms opt in, accepts sms marketing, optin sms, consentement sms")),
        Field("consent_sms_at", _words("sms consent date, sms consent at, date consentement sms, date optin sms")),
    ), attributes=True),
    "products": ImportKind("product_key", (
        Field("product_key", (*_PRODUCT, "id", "code"), required=True),
        Field("name", _words(
            "product name, item name, title, description, label, nom, nom produit, libelle, designation, bezeichnung")),
        Field("family", _words("category, department, product category, product family, famille, categorie, rayon")),
        Field("sub_family", _words("subcategory, sub category, subfamily, sous famille, sous categorie")),
        Field("price", _words("unit price, sale price, retail price, prix, prix de vente, prix unitaire, pv, preis")),
        Field("margin", _words("unit margin, profit, marge, marge unitaire")),
        Field("stock", _words("stock level, quantity on hand, inventory, qty on hand, quantite en stock, stock dispo")),
        Field("active", _words("enabled, is active, status, published, actif, en vente, publie")),
        Field("tags", _words("labels, etiquettes")),
    ), attributes=True),
}  # fmt: skip


def may_map_to(kind: str, field: str) -> bool:
    """Whether a column of such a file can mean this field; customers and products also have `attributes.<name>`."""
    found = KINDS[kind]
    return field in found.names or (found.attributes and field.startswith(ATTRIBUTE) and len(field) > len(ATTRIBUTE))


def suggest(kind: str, header: Sequence[str]) -> dict[str, str]:
    """Column -> field, as far as the names tell; each field at most once, the closest name first."""
    scored = [
        (-_score(_plain(column), field), place, rank, column, field.name)
        for place, column in enumerate(header)
        for rank, field in enumerate(KINDS[kind].fields)
    ]
    found: dict[str, str] = {}
    for score, _, _, column, field_name in sorted(scored):
        if -score >= CLOSE_ENOUGH and column not in found and field_name not in found.values():
            found[column] = field_name
    return {column: found[column] for column in header if column in found}


def combine(suggestion: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    """The mapping to use: what is wanted, and the suggestion for columns of which nothing is said."""
    chosen = {column: field for column, field in wanted.items() if field is not None}
    taken = set(chosen.values())
    kept = {c: field for c, field in suggestion.items() if c not in wanted and field not in taken}
    return {**kept, **chosen}


def _score(name: str, field: Field) -> float:
    own = field.name.replace("_", " ")
    if name in (own, own.replace(" ", "")):
        return 101.0
    if name in field.synonyms:
        return 100.0
    if len(name) < 4:
        return 0.0  # a letter more or less makes another word of it
    return max(fuzz.token_sort_ratio(name, other) for other in (own, *field.synonyms))
